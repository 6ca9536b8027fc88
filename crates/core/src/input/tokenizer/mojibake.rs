//! Text that was decoded with the wrong encoding.
pub(super) fn fix_encoding(text: &str) -> String {
    text.to_owned()
}
pub(super) fn fix_c1_controls(text: &str) -> String {
    text.to_owned()
}
