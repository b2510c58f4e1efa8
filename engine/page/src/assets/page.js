// Keeps a page up to date. Everything works without it; it decides nothing, it only loads the page
// again when the engine says that something changed, and says when the engine says nothing.
"use strict";

(() => {
  const QUIET_MS = 25000; // two signs of life are missing
  const SOON_MS = 300; // between a change and the load that shows it
  const AGAIN_MS = 2000; // between two tries to reach the engine
  const line = document.getElementById("line");
  let heard = 0;
  let stream = null;
  let loading = null;
  let loadAgain = false;
  let pressed = false;

  const tell = (kind, text) => {
    if (!line || line.dataset.text === text) return;
    line.dataset.text = text;
    line.className = "line " + kind;
    line.querySelector(".text").textContent = text;
  };

  // What a person has typed is kept until it is recorded, over any reload and restart.
  const keyOf = (field) => "draft " + location.pathname + " " + field.id;
  const drafts = "textarea[id], .command input[id]:not([type=file])";

  const keepDraft = (event) => {
    const field = event.target;
    if (field.matches && field.matches(drafts)) sessionStorage.setItem(keyOf(field), field.value);
  };

  // A file that shows something becomes the evidence's text, so that it is read before it is sent.
  const readFile = (field) => {
    const into = document.getElementById(field.dataset.into);
    const file = field.files[0];
    const say = (text) => { field.parentElement.querySelector(".file-said").textContent = text; };
    if (!file || !into) return;
    const most = Number(field.dataset.bytesMax);
    if (file.size > most) {
      field.value = "";
      say(file.name + " has " + file.size + " bytes, more than EVIDENCE_BYTES_MAX (" + most + "): not taken");
      return;
    }
    file.text().then((text) => {
      into.value = text;
      sessionStorage.setItem(keyOf(into), text);
      say(file.name + " is in the field above");
    }, (error) => say(file.name + " cannot be read: " + error));
  };

  const showFiles = () => {
    for (const label of document.querySelectorAll("label.by-script[hidden]")) label.hidden = false;
  };

  const restoreDrafts = () => {
    showFiles();
    for (const field of document.querySelectorAll(drafts)) {
      const kept = sessionStorage.getItem(keyOf(field));
      if (kept && field.value !== kept) field.value = kept;
    }
  };

  const forgetSent = () => {
    const sent = sessionStorage.getItem("sent " + location.pathname);
    if (sent && document.getElementById("said")) {
      for (const key of JSON.parse(sent)) sessionStorage.removeItem(key);
    }
    sessionStorage.removeItem("sent " + location.pathname);
    if (document.getElementById("said")) {
      const url = new URL(location.href);
      url.searchParams.delete("said");
      history.replaceState(null, "", url);
    }
  };

  const rememberSent = (event) => {
    const keys = [...event.target.querySelectorAll(drafts)].map(keyOf);
    sessionStorage.setItem("sent " + location.pathname, JSON.stringify(keys));
  };

  // Puts new parts in place of old ones; what is open stays open, what is focused stays focused.
  const openIds = () => [...document.querySelectorAll("details[id][open]")].map((d) => [d.id, d.dataset.consent]);

  const reopen = (open) => {
    for (const [id, consent] of open) {
      const details = document.getElementById(id);
      if (!details) continue;
      if (details.dataset.consent === consent) {
        details.open = true;
      } else {
        // Nobody says yes to something that changed under their eyes.
        const note = document.createElement("p");
        note.className = "changed";
        note.setAttribute("role", "alert");
        note.textContent = "What it would do has changed. Read it again, then open this again.";
        details.before(note);
      }
    }
  };

  const scrolls = () => {
    const dag = document.getElementById("dag");
    return dag ? [dag.scrollLeft, dag.scrollTop] : null;
  };

  // The clock of an exercise goes on between two loads, as fast as it was said to.
  const turnClocks = () => {
    for (const clock of document.querySelectorAll("[data-clock]")) {
      if (clock.since === undefined) clock.since = Date.now();
      const ms = Number(clock.dataset.clock) + (Date.now() - clock.since) * Number(clock.dataset.speed);
      const two = (n) => String(Math.floor(n)).padStart(2, "0");
      clock.textContent = "+" + two(ms / 60000) + ":" + two(ms / 1000 % 60);
    }
  };

  const put = (next) => {
    const open = openIds();
    const focused = document.activeElement && document.activeElement.id;
    const selection = focused && document.activeElement.selectionStart !== undefined
      ? [document.activeElement.selectionStart, document.activeElement.selectionEnd] : null;
    const at = scrolls();
    let changed = false;
    for (const part of document.querySelectorAll("[data-part]")) {
      const fresh = next.getElementById(part.id);
      if (fresh && fresh.innerHTML !== part.dataset.shown) {
        part.innerHTML = fresh.innerHTML;
        part.dataset.shown = fresh.innerHTML;
        changed = true;
      }
    }
    document.title = next.title;
    follow();
    if (!changed) return;
    restoreDrafts();
    reopen(open);
    followOutput();
    const dag = document.getElementById("dag");
    if (dag && at) [dag.scrollLeft, dag.scrollTop] = at;
    const field = focused && document.getElementById(focused);
    if (field) {
      field.focus({ preventScroll: true });
      if (selection && field.setSelectionRange && field.type !== "hidden") field.setSelectionRange(...selection);
    }
  };

  const loadOnce = async () => {
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-store" });
      if (answer.ok) {
        put(new DOMParser().parseFromString(await answer.text(), "text/html"));
        alive();
      }
    } catch (_) {
      // The line says so when nothing was heard for long.
    }
    loading = null;
    if (loadAgain) { loadAgain = false; await load(true); }
  };

  // What is being pressed stays where it is until it is let go, except the scrubber itself.
  const load = (scrubs) => {
    if (pressed && scrubs !== true) { loadAgain = true; return Promise.resolve(); }
    if (loading) { loadAgain = true; return loading; }
    loading = loadOnce();
    return loading;
  };

  // A run of many steps changes hundreds of times a second.
  let waits = false;
  const soon = () => {
    if (waits) return;
    waits = true;
    setTimeout(() => { waits = false; load(); }, SOON_MS);
  };

  const alive = () => {
    heard = Date.now();
    if (document.body.dataset.live) tell("live", "live");
  };

  const listen = () => {
    const address = document.body.dataset.live;
    if (!address || !window.EventSource) return;
    if (stream) stream.close();
    stream = new EventSource(address);
    stream.addEventListener("open", () => { alive(); load(); });
    stream.addEventListener("message", () => { alive(); soon(); });
    stream.addEventListener("beat", alive);
    stream.addEventListener("error", () => {
      tell("stale", "the engine does not answer; last word at " + lastWord() + ", trying again");
    });
  };

  // What a step prints is appended as it comes; a page that is drawn anew brings what came until then.
  const PRINTED_MAX = 65536; // characters that are shown: the end of it
  let printing = null;
  let printer = null;

  const followOutput = () => {
    const pre = document.getElementById("live-output");
    if (pre === printer) return;
    if (printing) printing.close();
    printing = null;
    printer = pre;
    if (!pre || !window.EventSource) return;
    pre.scrollTop = pre.scrollHeight;
    let next = pre.dataset.next;
    const open = () => {
      const source = new EventSource(pre.dataset.follow + "&from=" + next);
      source.addEventListener("message", (event) => {
        const piece = JSON.parse(event.data);
        const atEnd = pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 4;
        pre.textContent = (pre.textContent + piece.text).slice(-PRINTED_MAX);
        next = piece.next;
        if (atEnd) pre.scrollTop = pre.scrollHeight;
      });
      // The browser would ask from the beginning again.
      source.addEventListener("error", () => {
        source.close();
        if (pre === printer) setTimeout(() => { if (pre === printer) printing = open(); }, AGAIN_MS);
      });
      return source;
    };
    printing = open();
  };

  const lastWord = () => heard ? new Date(heard).toISOString().slice(11, 19) + " UTC" : "no time";

  // One that the browser gave up, or that went silent, is opened anew.
  const watch = () => {
    if (!document.body.dataset.live) return;
    const silent = Date.now() - heard > QUIET_MS;
    if (silent) tell("stale", "stale: no word from the engine since " + lastWord() + ", trying again");
    if (!stream || stream.readyState === EventSource.CLOSED || silent) listen();
  };

  // A step is chosen without leaving the place where one reads, and a replay moved in.
  const choose = (event) => {
    const link = event.target.closest && event.target.closest("a[href]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    const raw = typeof link.href === "string" ? link.href : link.getAttribute("href");
    const url = new URL(raw, location.href);
    const at = new URL(location.href).searchParams.get("at");
    if (url.pathname !== location.pathname || !!at !== url.searchParams.has("at")) return;
    if (at && url.searchParams.get("at") !== at) {
      event.preventDefault();
      history.pushState(null, "", url);
      pause();
      load(true);
      return;
    }
    if (!url.searchParams.has("step")) return;
    event.preventDefault();
    history.pushState(null, "", url);
    load().then(() => {
      const step = document.getElementById("step");
      if (step) { step.scrollIntoView({ block: "nearest" }); step.focus({ preventScroll: true }); }
    });
  };

  const showChosen = () => {
    const dag = document.getElementById("dag");
    const chosen = dag && dag.querySelector(".chosen");
    if (!chosen) return;
    const box = chosen.getBoundingClientRect();
    const frame = dag.getBoundingClientRect();
    dag.scrollTop += box.top - frame.top - frame.height / 2 + box.height / 2;
    dag.scrollLeft += box.left - frame.left - frame.width / 2 + box.width / 2;
  };

  const release = () => {
    pressed = false;
    if (loadAgain && !loading) setTimeout(() => { loadAgain = false; load(); }, 50);
  };

  // A replay: the bar asks for another moment, and the player asks for the next one when its time
  // has come. What there is to show is the engine's answer, as for every other page.
  const GAP_MS = 5000; // the longest wait between two events: a quiet night is not sat through
  const FRAME_MS = 150; // the shortest time between two moments that are shown
  const scrub = document.getElementById("scrub");
  const bar = document.getElementById("scrub-at");
  let playing = null;

  const place = () => document.querySelector("#replay-place .place").dataset;

  // The bar follows the page, except while a finger holds it.
  const follow = () => {
    if (!bar) return;
    const here = place();
    bar.max = here.last;
    if (!pressed) bar.value = here.at;
    bar.setAttribute("aria-valuetext", here.words);
  };

  const goTo = (at) => {
    const url = new URL(location.href);
    url.searchParams.set("at", at);
    url.searchParams.delete("before");
    url.hash = "";
    history.replaceState(null, "", url);
    return load(true);
  };

  const pause = () => {
    if (playing === null) return;
    clearTimeout(playing);
    playing = null;
    document.getElementById("scrub-play").textContent = "Play";
    document.getElementById("replay-place").setAttribute("aria-live", "polite");
  };

  const tick = () => {
    const here = place();
    const ahead = here.ahead.split(" ").filter((ms) => ms !== "").map(Number);
    if (ahead.length === 0) { pause(); return; }
    const speed = Number(document.getElementById("scrub-speed").value);
    const gap = ahead[0] / speed;
    const began = performance.now();
    playing = setTimeout(async () => {
      // Several may have happened meanwhile.
      const passed = gap > GAP_MS ? ahead[0] : Math.max(ahead[0], (performance.now() - began) * speed);
      const count = ahead.filter((ms) => ms <= passed).length;
      await goTo(Number(here.at) + count);
      if (playing !== null) tick();
    }, Math.max(FRAME_MS, Math.min(gap, GAP_MS)));
  };

  const play = () => {
    if (playing !== null) { pause(); return; }
    document.getElementById("scrub-play").textContent = "Pause";
    document.getElementById("replay-place").setAttribute("aria-live", "off");
    tick();
  };

  const keys = (event) => {
    const links = { n: "move-decision-next", p: "move-decision-before" };
    if (event.key === " ") { event.preventDefault(); play(); return; }
    const link = links[event.key] && document.querySelector("a#" + links[event.key]);
    if (link) { event.preventDefault(); link.click(); }
  };

  if (scrub) {
    scrub.classList.add("scripted");
    for (const part of scrub.querySelectorAll("[hidden]")) part.hidden = false;
    bar.addEventListener("input", () => { pause(); goTo(bar.value); });
    bar.addEventListener("keydown", keys);
    scrub.addEventListener("submit", (event) => { event.preventDefault(); goTo(bar.value); });
    document.getElementById("scrub-play").addEventListener("click", play);
  }

  document.addEventListener("pointerdown", () => { pressed = true; });
  document.addEventListener("pointerup", release);
  document.addEventListener("pointercancel", release);
  document.addEventListener("change", (event) => {
    if (event.target.matches("input[type=file][data-into]")) readFile(event.target);
  });
  document.addEventListener("input", keepDraft);
  document.addEventListener("submit", rememberSent);
  document.addEventListener("click", choose);
  window.addEventListener("popstate", () => load());
  document.addEventListener("visibilitychange", () => { if (!document.hidden) { watch(); load(); } });
  for (const part of document.querySelectorAll("[data-part]")) part.dataset.shown = part.innerHTML;
  forgetSent();
  restoreDrafts();
  showChosen();
  followOutput();
  heard = Date.now();
  listen();
  setInterval(turnClocks, 1000);
  setInterval(watch, AGAIN_MS);
})();
