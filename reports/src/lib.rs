//! Charts, tables and HTML.
