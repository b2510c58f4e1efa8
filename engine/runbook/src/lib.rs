//! RON text to a valid plan, with every problem at its line
