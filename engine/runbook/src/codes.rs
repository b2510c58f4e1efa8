//! The code of every problem. Each has a page in `docs/errors/`.

macro_rules! codes {
    ($($name:ident = $code:literal, $title:literal;)*) => {
        $(#[doc = $title] pub const $name: &str = $code;)*

        /// Every code with its title.
        pub const ALL: &[(&str, &str)] = &[$(($code, $title)),*];
    };
}

codes! {
    FILE_MISSING = "BO0101", "The file does not exist";
    FILE_FOLDER = "BO0102", "A folder instead of a file";
    FILE_NOT_UTF8 = "BO0103", "The file is not UTF-8";
    FILE_TOO_LARGE = "BO0104", "The file is too large";
    FILE_UNREADABLE = "BO0105", "The file cannot be read";
    SYNTAX = "BO0110", "Not RON";
    COMMA = "BO0111", "A comma is missing";
    UNCLOSED = "BO0112", "A bracket or comment is not closed";
    TEXT = "BO0113", "A text or character is wrong";
    NUMBER = "BO0114", "A number is wrong";
    NOT_USED = "BO0115", "A part of RON that runbooks do not use";
    NESTING = "BO0116", "Nested too deep";
    DUPLICATE_KEY = "BO0117", "A field or key is written twice";
    QUOTE = "BO0118", "A quote is missing";
    NOT_A_RUNBOOK = "BO0201", "The file holds something else than a runbook";
    FORMAT = "BO0202", "The format is not supported";
    UNKNOWN_FIELD = "BO0203", "A field that does not exist";
    WRONG_TYPE = "BO0204", "A value of the wrong type";
    MISSING_FIELD = "BO0205", "A field is missing";
    EMPTY = "BO0206", "A runbook without steps";
    BAD_NAME = "BO0207", "An id or name that is not allowed";
    BAD_DURATION = "BO0208", "Not a duration";
    OUT_OF_RANGE = "BO0209", "A value out of its range";
    BAD_DATE = "BO0210", "Not a date";
    BAD_WORD = "BO0211", "A word that is not one of those allowed";
    CONFLICT = "BO0212", "Fields that do not go together";
    RESERVED_LABEL = "BO0213", "A label that a runbook cannot have";
    DUPLICATE_ID = "BO0301", "Two steps have one id";
    UNKNOWN_NEED = "BO0302", "A need that is no step";
    SELF_NEED = "BO0303", "A step that needs itself";
    CYCLE = "BO0304", "Steps that need each other in a circle";
    LIMIT = "BO0305", "Beyond a limit";
    FOR_EACH = "BO0306", "A list of `for_each` that cannot be used";
    SAME_TARGET = "BO0307", "Two steps of one wave act on one target";
    UNKNOWN_ACTION = "BO0401", "An action that does not exist";
    INPUT_FIELD = "BO0402", "The action has no such field";
    INPUT_VALUE = "BO0403", "A value that the action does not take";
    INPUT_MISSING = "BO0404", "A field that the action needs is missing";
    INPUT_REFUSED = "BO0405", "The action refuses its input";
    INPUT_DOUBTFUL = "BO0406", "The action doubts its input";
    SECRET_PLACE = "BO0407", "A secret where none may stand";
    EXPRESSION = "BO0501", "An expression that is not CEL";
    UNKNOWN_REFERENCE = "BO0502", "An expression names what does not exist";
    NOT_BEFORE = "BO0503", "An expression names a step that does not come before";
    ITEM = "BO0504", "A `for_each` step or its item named in the wrong way";
    NO_VALUE = "BO0505", "An expression that gives no value";
    PARAM_MISSING = "BO0601", "A parameter has no value";
    PARAM_UNKNOWN = "BO0602", "A parameter that the runbook does not have";
    PARAM_VALUE = "BO0603", "A value that the parameter does not take";
    PARAM_DECLARED = "BO0604", "A parameter that is declared in the wrong way";
    PARAM_SECRET = "BO0605", "A secret given by its value";
    RELEASES_MISSING = "BO0701", "There is no `releases.ron` beside the runbook";
    RELEASE_UNKNOWN = "BO0702", "A release that is not in `releases.ron`";
    RELEASE_TWICE = "BO0703", "Two entries are one release";
    RELEASE_DIGEST = "BO0704", "An image or artifact that is not named by its digest";
    RELEASE_SCHEMA = "BO0705", "A release and its own schema do not go together";
    RELEASE_UNFIT = "BO0706", "The release does not work with the schema that will be there";
    SCENARIO_NAME = "BO0801", "A scenario names what does not exist";
    SCENARIO_SHAPE = "BO0802", "A part of a scenario that says nothing, or too much";
}
