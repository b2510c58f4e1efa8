//! The work on one replica: looks, does what is next, and looks again.

use std::time::{Duration, Instant};

use backout_plugin_api::{Call, Context, Emit, Outcome};
use bollard::models::ContainerCreateBody;
use serde_json::{Value, json};

use super::data::{Data, Source};
use super::scene::{Next, Scene, Seen, Step, hidden_aliases, next, shown_aliases};
use crate::credentials;
use crate::faults::{Faults, Point};
use crate::host::{Change, Container, Credentials, Host, HostError, Restart, body, seal_body};
use crate::input::{RollbackInput, duration, or};
use crate::place::{Maker, kept_name, mark_name, seal_labels};
use crate::wait::{Well, until_well};

/// Requests for one replica, a few for each sub-step: beyond, something undoes what we do.
const STEPS_MAX: usize = 60;
/// The part of a verb's time, in percent, that may pass until the new container is healthy: the rest
/// is for putting back what was there.
const HEALTHY_PERCENT: u32 = 70;
const HEALTHY_DEFAULT: Duration = Duration::from_mins(2);
const STABLE_DEFAULT: Duration = Duration::from_secs(5);
const DRAIN_DEFAULT: Duration = Duration::from_secs(1);

/// One replica's replacement under way.
pub(super) struct Work<'a> {
    pub(super) ctx: &'a Context,
    pub(super) call: &'a Call,
    pub(super) host: &'a Host,
    pub(super) data: &'a Data,
    pub(super) input: &'a RollbackInput,
    pub(super) faults: &'a Faults,
    pub(super) begun: Instant,
}

/// Why a sub-step did not come to its end.
enum Stop {
    /// Nobody knows: an answer is missing, or a test stopped it.
    Unclear(String),
    /// It cannot be made: put back what was there.
    Failed(String),
}

impl From<HostError> for Stop {
    fn from(error: HostError) -> Self {
        match error {
            HostError::Silent(why) => Self::Unclear(why),
            answer @ HostError::Answer { .. } => Self::Failed(answer.to_string()),
        }
    }
}

impl Work<'_> {
    /// Goes on until the replacement is in service, or until what was there is put back.
    pub(super) async fn run(&self) -> Outcome {
        if self.host.identity != self.data.engine {
            let reason = format!(
                "{} leads to the engine {} now, not to {}: plan again",
                self.host.address, self.host.identity, self.data.engine
            );
            return Outcome::Refused { reason };
        }
        let mut seen = Seen::Nothing;
        for _ in 0..STEPS_MAX {
            let scene = match self.look().await {
                Ok(scene) => scene,
                Err(error) => return Outcome::Unclear { reason: error.to_string() },
            };
            let done = match next(&scene, self.data, &self.call.fence, seen) {
                Next::Done => return Outcome::Done { output: self.output(&scene) },
                Next::Refuse(reason) => return Outcome::Refused { reason },
                Next::Abandon(reason) => Err(Stop::Failed(reason)),
                Next::Do(step) => {
                    seen = match step {
                        Step::Start => Seen::Started,
                        Step::Await => Seen::Well,
                        _ => seen,
                    };
                    self.make(step, &scene).await
                }
            };
            match done {
                Ok(()) => {}
                Err(Stop::Unclear(reason)) => return Outcome::Unclear { reason },
                Err(Stop::Failed(reason)) => return self.put_back(&reason).await,
            }
        }
        let reason = format!("{STEPS_MAX} requests were not enough: something undoes them");
        Outcome::Unclear { reason }
    }

    pub(super) async fn look(&self) -> Result<Scene, HostError> {
        Scene::look(self.host, self.data, &self.call.key).await
    }

    async fn make(&self, step: Step, scene: &Scene) -> Result<(), Stop> {
        let (old, new) = (scene.old.as_ref(), scene.new.as_ref());
        let point = match (step, old, new) {
            (Step::Unseal, _, _) => self.unseal(scene).await?,
            (Step::Mark, Some(old), _) => self.mark(old).await?,
            (Step::Attach, _, Some(new)) => self.attach(new).await?,
            (Step::Start, _, Some(new)) => self.start(new).await?,
            (Step::Await, _, Some(new)) => self.wait(scene, new).await?,
            (Step::Join, _, Some(new)) => self.join(new).await?,
            (Step::Revive, _, Some(new)) => self.revive(new).await?,
            (Step::Quiet, Some(old), _) => self.quiet(old).await?,
            (Step::Keep, Some(old), _) => self.keep(old).await?,
            (Step::Name, _, Some(new)) => self.name(new).await?,
            (Step::Stop, Some(old), _) => self.stop(old).await?,
            _ => return Ok(()),
        };
        self.pass(point)
    }

    fn pass(&self, point: Point) -> Result<(), Stop> {
        if self.faults.stops(point) {
            return Err(Stop::Unclear(format!("stopped by a test after `{point:?}`")));
        }
        Ok(())
    }

    fn say(&self, line: &str) {
        (self.ctx.emit)(Emit::Progress(format!("{}: {line}", self.data.name)));
    }

    async fn unseal(&self, scene: &Scene) -> Result<Point, Stop> {
        if let Some((_, id)) = &scene.seal {
            self.host.remove(id).await?;
        }
        Ok(Point::Unsealed)
    }

    async fn mark(&self, old: &Container) -> Result<Point, Stop> {
        self.pass(Point::Looked)?;
        let mark = mark_name(&self.data.name, &self.call.key);
        let made = match &self.data.source {
            Source::Kept { id, .. } => self.host.rename(id, &mark).await,
            Source::Image { name } => {
                self.pull(name).await?;
                self.pass(Point::Pulled)?;
                self.forget_failed(old).await?;
                let body = self.body(old, name).await?;
                self.host.create(&mark, body).await.map(|_| ())
            }
        };
        match made {
            // Another sending of this key was quicker: what it made is as good.
            Err(error) if error.is_conflict() => {}
            made => made?,
        }
        self.say(&format!("the new container stands as {mark}"));
        Ok(Point::Marked)
    }

    async fn pull(&self, name: &str) -> Result<(), Stop> {
        if self.host.image(name).await?.is_some() {
            return Ok(());
        }
        self.say(&format!("pulling {name}"));
        let credentials = self.credentials().await.map_err(Stop::Failed)?;
        Ok(self.host.pull(name, &credentials).await?)
    }

    async fn credentials(&self) -> Result<Credentials, String> {
        credentials(self.ctx, self.input.registry.as_ref()).await
    }

    /// Earlier attempts of this step that came to nothing left their container for its log.
    async fn forget_failed(&self, old: &Container) -> Result<(), Stop> {
        let maker = self.maker(old);
        let labels = maker.labels();
        let wanted = labels.into_iter().filter(|(name, _)| {
            ["io.backout.run", "io.backout.step", "io.backout.replaces"].contains(&name.as_str())
        });
        for failed in self.host.with_labels(&wanted.collect()).await? {
            let is_other = Maker::of(&failed).is_some_and(|it| it.key != maker.key);
            if is_other && !failed.is_up && crate::place::is_aside(&failed) {
                self.host.remove(&failed.id).await?;
            }
        }
        Ok(())
    }

    fn maker(&self, old: &Container) -> Maker {
        let (run, step) = (self.ctx.run.as_str(), self.ctx.step.as_str());
        Maker::new(run, step, &self.call.key, &self.call.fence, &old.id)
    }

    async fn body(&self, old: &Container, image: &str) -> Result<ContainerCreateBody, Stop> {
        let old_image = self.host.image(&old.image_id).await?;
        let Some(old_image) = old_image else {
            return Err(Stop::Failed(no_image(&self.data.name, &old.image_id)));
        };
        let change = Change {
            image,
            old_image: &old_image.config,
            labels: &self.maker(old).labels_in(self.ctx.traceparent.as_deref()),
            with_aliases: !self.data.overlap,
            flavor: self.host.flavor,
        };
        Ok(body(old, &change))
    }

    async fn attach(&self, new: &Container) -> Result<Point, Stop> {
        let is_hidden = self.data.overlap && !new.is_running;
        let strip = if is_hidden { shown_aliases(self.data, new) } else { Vec::new() };
        for network in &strip {
            self.host.disconnect_network(network, &new.id).await?;
        }
        for (network, endpoint) in &self.data.networks {
            if !new.networks.contains_key(network) || strip.contains(network) {
                let settings = endpoint.settings(!self.data.overlap);
                self.host.connect_network(network, &new.id, settings).await?;
            }
        }
        Ok(Point::Attached)
    }

    async fn start(&self, new: &Container) -> Result<Point, Stop> {
        self.host.start(&new.id).await?;
        self.say("started, waiting until it is healthy");
        Ok(Point::Started)
    }

    fn well(&self) -> Well {
        let left = self.ctx.timeout * HEALTHY_PERCENT / 100;
        let left = left.saturating_sub(self.begun.elapsed());
        let wanted = or(&self.input.healthy_within, HEALTHY_DEFAULT);
        Well { within: wanted.min(left), stable: or(&self.input.stable_for, STABLE_DEFAULT) }
    }

    async fn wait(&self, scene: &Scene, new: &Container) -> Result<Point, Stop> {
        let well = until_well(self.host, &new.id, self.well()).await?.map_err(|why| {
            Stop::Failed(format!(
                "{why}; its log: docker logs {}",
                mark_name(&self.data.name, &self.call.key)
            ))
        })?;
        match gap_ms(self.data, scene.old.as_ref(), &well) {
            0 => self.say("healthy"),
            gap => self.say(&format!("healthy; it was out of service for {gap} ms")),
        }
        Ok(Point::Awaited)
    }

    /// A container is found by an alias from the moment on when it is connected with it.
    async fn join(&self, new: &Container) -> Result<Point, Stop> {
        for network in hidden_aliases(self.data, new) {
            let Some(endpoint) = self.data.networks.get(&network) else { continue };
            if new.networks.contains_key(&network) {
                self.host.disconnect_network(&network, &new.id).await?;
            }
            self.host.connect_network(&network, &new.id, endpoint.settings(true)).await?;
        }
        Ok(Point::Joined)
    }

    async fn revive(&self, new: &Container) -> Result<Point, Stop> {
        if let Source::Kept { restart, .. } = &self.data.source {
            self.host.set_restart(&new.id, restart).await?;
        }
        Ok(Point::Revived)
    }

    async fn quiet(&self, old: &Container) -> Result<Point, Stop> {
        self.host.set_restart(&old.id, &Restart::never()).await?;
        Ok(Point::Quieted)
    }

    async fn keep(&self, old: &Container) -> Result<Point, Stop> {
        self.host.rename(&old.id, &kept_name(&self.data.name, &self.call.key)).await?;
        Ok(Point::Kept)
    }

    async fn name(&self, new: &Container) -> Result<Point, Stop> {
        match self.host.rename(&new.id, &self.data.name).await {
            // The next look shows who has the name.
            Err(error) if error.is_conflict() => {}
            renamed => renamed?,
        }
        Ok(Point::Named)
    }

    async fn stop(&self, old: &Container) -> Result<Point, Stop> {
        if self.data.overlap {
            tokio::time::sleep(or(&self.input.drain, DRAIN_DEFAULT)).await;
        }
        self.say(&format!("ending {}", old.name));
        let grace = self.input.grace.as_deref().and_then(|text| duration(text).ok());
        match self.host.stop(&old.id, grace).await {
            // Removed by the engine when it ended.
            Err(error) if error.is_not_found() => {}
            stopped => stopped?,
        }
        Ok(Point::Stopped)
    }

    /// The replacement came to nothing: it is ended, and what was there goes on.
    async fn put_back(&self, why: &str) -> Outcome {
        self.say(&format!("given up ({why}), putting back what was there"));
        let put = match self.look().await {
            Ok(scene) => self.put_back_all(&scene).await,
            Err(error) => Err(Stop::from(error)),
        };
        let name = &self.data.name;
        match put {
            Ok(()) => {
                Outcome::Refused { reason: format!("{name}: {why}; what was there before goes on") }
            }
            Err(Stop::Unclear(reason)) => Outcome::Unclear { reason: format!("{why}; {reason}") },
            Err(Stop::Failed(reason)) => Outcome::Failed {
                reason: format!(
                    "{name}: {why}; and what was there before could not be put back: {reason}; \
                     look with: docker ps -a --filter name={name} --filter name={}",
                    mark_name(&self.data.name, &self.call.key)
                ),
                output: Value::Null,
            },
        }
    }

    async fn put_back_all(&self, scene: &Scene) -> Result<(), Stop> {
        if let Some(new) = scene.new.as_ref().filter(|new| new.id != self.data.old) {
            self.set_aside(new).await?;
        }
        let Some(old) = &scene.old else {
            return Err(Stop::Failed("the container from before is gone".to_owned()));
        };
        if old.name != self.data.name {
            self.host.rename(&old.id, &self.data.name).await?;
        }
        if old.restart != self.data.restart {
            self.host.set_restart(&old.id, &self.data.restart).await?;
        }
        if self.data.was_running && !old.is_up {
            self.host.start(&old.id).await?;
            let back = until_well(self.host, &old.id, self.well()).await?;
            // Whether it was healthy before is not known; that it runs is.
            if let Err(why) = back
                && !self.host.container(&old.id).await?.is_some_and(|old| old.is_up)
            {
                return Err(Stop::Failed(why));
            }
        }
        Ok(())
    }

    /// Ends the new container. It stays for its log; the next attempt, or the tidying, removes it.
    async fn set_aside(&self, new: &Container) -> Result<(), Stop> {
        if new.is_up {
            self.host.stop(&new.id, Some(Duration::ZERO)).await?;
        }
        self.host.set_restart(&new.id, &Restart::never()).await?;
        match &self.data.source {
            Source::Kept { name, .. } => self.host.rename(&new.id, name).await?,
            Source::Image { .. } if new.name == self.data.name => {
                self.host.rename(&new.id, &mark_name(&self.data.name, &self.call.key)).await?;
            }
            Source::Image { .. } => {}
        }
        Ok(())
    }

    /// What later steps may use: read from the engine, so that it is the same after a crash.
    pub(super) fn output(&self, scene: &Scene) -> Value {
        let Some(new) = &scene.new else { return Value::Null };
        json!({
            "container": self.data.name,
            "id": new.id,
            "image": new.image_name,
            "image_id": new.image_id,
            "replaced": self.data.old,
            "kept": scene.old.as_ref().map(|old| &old.name),
            "gap_ms": gap_ms(self.data, scene.old.as_ref(), new),
        })
    }

    /// Takes the key's name away, so that no sending up to this dispatch can begin any more.
    pub(super) async fn seal(&self) -> Result<(), HostError> {
        let labels = seal_labels(&self.call.key, self.call.fence.dispatch);
        let body = seal_body(&self.data.old_image, labels);
        self.host.create(&mark_name(&self.data.name, &self.call.key), body).await.map(|_| ())
    }
}

/// How long nobody served: from the end of the old one until the new one was ready, by the engine's
/// clock; nothing where they stood side by side. Where the engine forgot the first passed check, it
/// is the first that it remembers.
fn gap_ms(data: &Data, old: Option<&Container>, new: &Container) -> i64 {
    if data.overlap || !data.was_running {
        return 0;
    }
    let ended = old.and_then(|old| old.finished_at);
    let ready = new.passed_at.or(new.started_at);
    match (ended, ready) {
        (Some(ended), Some(ready)) => (ready - ended).num_milliseconds().max(0),
        _ => 0,
    }
}

/// Without the old image nobody knows which settings came from it.
pub(super) fn no_image(name: &str, image: &str) -> String {
    format!(
        "the image {image} of {name} is no more on the machine, so nobody can tell its settings from \
         those of the container; pull it again by its digest"
    )
}
