//! The fields of the file, each with type, default and meaning. The reader looks unknown fields up
//! here, and `docs/reference/runbook.md` is made from it.

/// One field.
#[derive(Clone, Copy, Debug)]
pub struct FieldDoc {
    /// How it is written.
    pub name: &'static str,
    /// What it takes.
    pub takes: &'static str,
    /// What holds where it is left out; `required` where it may not be.
    pub default: &'static str,
    /// What it is for.
    pub meaning: &'static str,
}

/// One struct of the file.
#[derive(Debug)]
pub struct StructDoc {
    /// The name that may stand before its parentheses.
    pub name: &'static str,
    /// What it is.
    pub meaning: &'static str,
    /// Its fields, in the order of the reference.
    pub fields: &'static [FieldDoc],
}

impl StructDoc {
    /// The names of its fields.
    pub fn names(&self) -> Vec<&'static str> {
        self.fields.iter().map(|field| field.name).collect()
    }
}

const fn field(
    name: &'static str,
    takes: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> FieldDoc {
    FieldDoc { name, takes, default, meaning }
}

/// The file.
pub const RUNBOOK: StructDoc = StructDoc {
    name: "Runbook",
    meaning: "The whole file.",
    fields: &[
        field("format", "whole number", "required", "The version of this format: `1`."),
        field("name", "text", "required", "What the runbook is called, in one short line."),
        field("title", "text", "`\"\"`", "One line for people."),
        field("description", "text", "`\"\"`", "What it is for, and when to use it."),
        field("owner", "text", "none", "Who keeps it."),
        field("environment", "`Environment`", "none", "Where it acts."),
        field(
            "labels",
            "map of texts",
            "`{}`",
            "For searching: `{\"service\": \"shop\"}`. `drill`, `drill-title` and what begins with \
             `backout-` are kept for other runs.",
        ),
        field("reviewed", "date", "none", "When somebody last read it, `\"2026-01-31\"`."),
        field("review_by", "date", "none", "When somebody must read it again."),
        field(
            "params",
            "map of `Param`",
            "`{}`",
            "What is given at the start: `{\"to\": (type: version)}`. Names are \
             `[a-z][a-z0-9_]*`.",
        ),
        field("defaults", "`Defaults`", "none", "What holds for steps that do not say."),
        field("max_parallel", "whole number", "`64`", "Steps at work at once, 1 to 1000."),
        field(
            "stale_after",
            "duration",
            "`\"1h\"`",
            "How long a run may stand still and go on without being named.",
        ),
        field("steps", "list of `Step`", "required", "What is done."),
        field("success", "`Success`", "none", "When the run has *recovered*."),
        field("comms", "`Comms`", "none", "Who is told, and how often. Shown only."),
        field("escalation", "list of `Escalation`", "`[]`", "Who is called, and when. Shown only."),
    ],
};

/// Where a runbook acts.
pub const ENVIRONMENT: StructDoc = StructDoc {
    name: "Environment",
    meaning: "Where the runbook acts.",
    fields: &[
        field("name", "text", "required", "`\"production\"` for instance."),
        field("protected", "boolean", "`false`", "Whether a run without a terminal needs `--yes`."),
    ],
};

/// A parameter.
pub const PARAM: StructDoc = StructDoc {
    name: "Param",
    meaning: "A parameter. Expressions name it `params.x`.",
    fields: &[
        field(
            "type",
            "`text`, `integer`, `boolean`, `duration`, `version`, `choice`, `list`, `release`",
            "`text`",
            "What it takes. A `release` is the id of an entry of `releases.ron`, and its value is \
             that entry: `${params.to.services.cart.image}`.",
        ),
        field("default", "a value of the type", "none", "Without it a value must be given."),
        field("pattern", "regular expression", "none", "What a text or version must match whole."),
        field("options", "list of texts", "none", "What a `choice` may be."),
        field("help", "text", "`\"\"`", "What to give."),
        field(
            "secret",
            "boolean",
            "`false`",
            "Whether it is a secret: then a reference is given, `env:NAME`, `file:PATH` or \
             `cmd:[\"prog\", \"arg\"]`, and it may stand only in fields that take one.",
        ),
    ],
};

/// What holds for steps that do not say.
pub const DEFAULTS: StructDoc = StructDoc {
    name: "Defaults",
    meaning: "What holds for steps that do not say.",
    fields: &[
        field("timeout", "duration", "`\"10m\"`", "How long one verb of a step may take."),
        field("retry", "`Retry`", "see `Retry`", "When a step is tried again."),
    ],
};

/// When a step is tried again.
pub const RETRY: StructDoc = StructDoc {
    name: "Retry",
    meaning: "When a step that failed is tried again. Fields left out are those of `defaults`.",
    fields: &[
        field("max", "whole number", "`0`", "Tries after the first one, at most 1000."),
        field("backoff", "duration", "`\"1s\"`", "The wait before the second try."),
        field("factor", "number", "`2`", "Each wait is the one before times this, 1 to 100."),
        field("jitter", "number", "`0.2`", "How much of a wait is drawn by chance, 0 to 1."),
        field("cap", "duration", "`\"1m\"`", "No wait is longer."),
    ],
};

/// A step.
pub const STEP: StructDoc = StructDoc {
    name: "Step",
    meaning: "One step.",
    fields: &[
        field("id", "text", "required", "Its name, `[a-z][a-z0-9_]*`, unique in the file."),
        field("title", "text", "`\"\"`", "One line for people."),
        field(
            "needs",
            "list of ids",
            "the step written before",
            "The steps that come before it; `[]` means at once. The id of a `for_each` step means \
             all its sub-steps.",
        ),
        field(
            "when",
            "expression",
            "none",
            "CEL without `${}`; where it is false the step is skipped.",
        ),
        field(
            "for_each",
            "list, or `\"${…}\"`",
            "none",
            "One sub-step `id[key]` for each item. The key is the item, or its field `key`.",
        ),
        field("action", "text", "required", "What it does, `plugin.verb`."),
        field("with", "the action's input", "`()`", "Its fields are the action's own."),
        field("timeout", "duration", "of `defaults`", "How long one verb may take."),
        field("retry", "`Retry`", "of `defaults`", "When it is tried again."),
        field(
            "on_exhausted",
            "`wait`, `halt`, `continue`, `undo`",
            "`wait`",
            "When its tries are used up: wait for a person, stop the run, go on as if it were \
             done, or undo the run.",
        ),
        field("approval", "`Approval` or `true`", "none", "Who must say yes before it acts."),
        field("accept", "list of texts", "`[]`", "Codes of hazards that are accepted here."),
        field("soak", "duration", "none", "How long it must stay as wanted."),
        field("expect", "duration", "none", "How long it usually takes."),
        field(
            "locks",
            "list of texts",
            "`[]`",
            "More targets that no other run may touch meanwhile.",
        ),
        field("watch", "boolean", "`false`", "Whether it is looked at again until the run ends."),
        field("owner", "text", "none", "Who knows about it."),
        field("runbook_url", "text", "none", "Where more is written."),
        field("note", "text", "none", "What to know."),
    ],
};

/// Who must say yes.
pub const APPROVAL: StructDoc = StructDoc {
    name: "Approval",
    meaning: "Who must say yes before a step acts.",
    fields: &[
        field("count", "whole number", "`1`", "How many different people, 1 to 20."),
        field("by", "list of texts", "`[]`", "Roles or people; empty is anyone."),
        field("starter_may", "boolean", "`true`", "Whether the one who started the run may."),
    ],
};

/// When the run has recovered.
pub const SUCCESS: StructDoc = StructDoc {
    name: "Success",
    meaning: "When the run has *recovered*. The checks become steps `success_<id>` after all \
              others; with this field no step's id may begin with `success_`.",
    fields: &[
        field("checks", "list of `Check`", "`[]`", "What must hold."),
        field("hold", "duration", "none", "How long the checks must hold."),
        field("validated_by", "text", "none", "The role or person who must say so at the end."),
    ],
};

/// One check of `success`.
pub const CHECK: StructDoc = StructDoc {
    name: "Check",
    meaning: "One check of `success`; each field is that of a `Step`.",
    fields: &[
        field("id", "text", "its number", "Its name; the step is `success_<id>`."),
        field("title", "text", "`\"\"`", "One line for people."),
        field("action", "text", "required", "What it does, `plugin.verb`."),
        field("with", "the action's input", "`()`", "Its fields are the action's own."),
        field("timeout", "duration", "of `defaults`", "How long one verb may take."),
        field("retry", "`Retry`", "of `defaults`", "When it is tried again."),
    ],
};

/// Who is told.
pub const COMMS: StructDoc = StructDoc {
    name: "Comms",
    meaning: "Who is told, and how often. Shown; its timer acts in a later release.",
    fields: &[
        field("cadence", "duration", "required", "The time between two updates."),
        field("channel", "text", "required", "Where."),
    ],
};

/// Who is called.
pub const ESCALATION: StructDoc = StructDoc {
    name: "Escalation",
    meaning: "Who is called when it takes long. Shown; its timer acts in a later release.",
    fields: &[
        field("after", "duration", "required", "How long after the run began."),
        field("to", "text", "required", "Who."),
    ],
};

/// The manifest.
pub const RELEASES: StructDoc = StructDoc {
    name: "Releases",
    meaning: "The whole of `releases.ron`, which stands beside the runbooks that have a parameter of \
              type `release`.",
    fields: &[
        field("format", "whole number", "required", "The version of this format: `1`."),
        field("releases", "list of `Release`", "required", "At most 200."),
    ],
};

/// One release.
pub const RELEASE: StructDoc = StructDoc {
    name: "Release",
    meaning: "One release: what `params.x` is where `-p x=ID` names it.",
    fields: &[
        field("id", "text", "required", "Its name, unique in the file: `\"2025.11.3\"`."),
        field("deployed_at", "moment", "required", "When, in UTC: `\"2025-11-20T10:15:00Z\"`."),
        field("services", "map of `Service`", "`{}`", "What each service runs."),
        field(
            "schemas",
            "map of whole numbers",
            "`{}`",
            "The schema version that it left behind, by database: `{\"shop\": 41}`.",
        ),
        field(
            "works_with",
            "map of lists",
            "its own version",
            "The schema versions that it works with, by database: `{\"shop\": [39, (from: 41, to: \
             43)]}`. Expressions see each as `from` and `to`.",
        ),
        field("flags", "list of texts", "`[]`", "The feature flags that it knows."),
        field("config", "SHA-256", "none", "The digest of its configuration."),
    ],
};

/// What one service runs.
pub const SERVICE: StructDoc = StructDoc {
    name: "Service",
    meaning: "What one service runs in a release: one of the two.",
    fields: &[
        field("image", "text", "none", "Its image by digest: `\"registry/cart@sha256:…\"`."),
        field("artifact", "`Artifact`", "none", "Its file."),
    ],
};

/// A file of a release.
pub const ARTIFACT: StructDoc = StructDoc {
    name: "Artifact",
    meaning: "A file of a release; it fits the `artifact` of `releases.activate` as a whole.",
    fields: &[
        field("path", "text", "none", "Where it stands in the release's folder."),
        field("sha256", "SHA-256", "required", "64 hex digits."),
    ],
};

/// Schema versions in a row.
pub const VERSIONS: StructDoc = StructDoc {
    name: "Versions",
    meaning: "Schema versions in a row, in `works_with`.",
    fields: &[
        field("from", "whole number", "required", "The first."),
        field("to", "whole number", "required", "The last."),
    ],
};

/// All structs, in the order of the reference.
pub const STRUCTS: &[&StructDoc] = &[
    &RUNBOOK,
    &ENVIRONMENT,
    &PARAM,
    &DEFAULTS,
    &RETRY,
    &STEP,
    &APPROVAL,
    &SUCCESS,
    &CHECK,
    &COMMS,
    &ESCALATION,
    &RELEASES,
    &RELEASE,
    &SERVICE,
    &ARTIFACT,
    &VERSIONS,
];
