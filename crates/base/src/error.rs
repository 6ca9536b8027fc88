//! Every way in which input from outside can be wrong.
//! The words of [`Error::code`] cross WASM, napi and HTTP: they are added, never renamed.
#![expect(missing_docs, reason = "each message is the doc of its variant")]

/// The result of everything that reads input from outside.
pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    #[error("tensor `{name}`: expected shape {expected:?}, got {got:?}")]
    Shape { name: String, expected: Vec<usize>, got: Vec<usize> },
    #[error("tensor `{name}`: expected {expected}, got {got}")]
    Dtype { name: String, expected: String, got: String },
    #[error("tensor `{name}` is missing")]
    MissingTensor { name: String },
    #[error("tensor `{name}` holds NaN or infinity")]
    NotFinite { name: String },
    #[error("not a readable safetensors file: {why}")]
    Safetensors { why: String },
    #[error("model: {why}")]
    Model { why: String },
    #[error("bundle: {why}")]
    Bundle { why: String },
    #[error("model pack: {why}")]
    Pack { why: String },
    #[error("the model's {tower} tower is not there: its pack holds none, or it is not loaded")]
    MissingTower { tower: &'static str },
    #[error("`{name}`: expected {expected}, got {got}")]
    Hash { name: String, expected: String, got: String },
    #[error("{bytes} bytes of memory are not to be had")]
    Memory { bytes: u64 },
    #[error(
        "the bundle was made for the model `{id}` with SHA-256 {expected}, the loaded model's is {got}"
    )]
    ModelMismatch { id: String, expected: String, got: String },
    #[error("label {label} is outside 0..{n_cls}")]
    Label { label: usize, n_cls: usize },
    #[error("image: {why}")]
    Image { why: String },
    #[error("image: {what} is {got}, the limit is {limit}")]
    ImageTooLarge { what: &'static str, got: u64, limit: u64 },
    #[error("image: not a PNG, JPEG, WebP or GIF file")]
    ImageFormat,
    #[error("class names: {why}")]
    Classes { why: String },
    #[error("text {text:?}: {why}")]
    Text { text: String, why: String },
    #[error("text {text:?}: {got} tokens, the model's context holds {limit}")]
    TextTooLong { text: String, got: usize, limit: usize },
    #[error("option `{name}`: expected {expected}, got {got}")]
    Option { name: String, expected: String, got: String },
    #[error("class {class:?} has {got} images, {expected} are needed")]
    TooFewImages { class: String, got: usize, expected: usize },
    #[error("checkpoint: {why}")]
    Checkpoint { why: String },
    #[error("training diverged in epoch {epoch}, batch {batch}: {why}")]
    Diverged { why: String, epoch: usize, batch: usize },
    #[error("cancelled")]
    Cancelled,
    #[error("{path}: {why}")]
    Io { path: String, why: String },
}

impl Error {
    /// The word that crosses WASM, napi and HTTP.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Shape { .. } => "bad_shape",
            Self::Dtype { .. } => "bad_dtype",
            Self::MissingTensor { .. } => "missing_tensor",
            Self::NotFinite { .. } => "not_finite",
            Self::Safetensors { .. } => "bad_safetensors",
            Self::Model { .. } => "bad_model",
            Self::Bundle { .. } => "bad_bundle",
            Self::Pack { .. } => "bad_pack",
            Self::MissingTower { .. } => "missing_tower",
            Self::Hash { .. } => "hash_mismatch",
            Self::Memory { .. } => "out_of_memory_budget",
            Self::ModelMismatch { .. } => "model_mismatch",
            Self::Label { .. } => "bad_label",
            Self::Image { .. } => "bad_image",
            Self::ImageTooLarge { .. } => "image_too_large",
            Self::ImageFormat => "unsupported_image",
            Self::Classes { .. } => "bad_classes",
            Self::Text { .. } => "bad_text",
            Self::TextTooLong { .. } => "text_too_long",
            Self::Option { .. } => "bad_option",
            Self::TooFewImages { .. } => "too_few_images",
            Self::Checkpoint { .. } => "bad_checkpoint",
            Self::Diverged { .. } => "diverged",
            Self::Cancelled => "cancelled",
            Self::Io { .. } => "io",
        }
    }

    /// Every word of [`Error::code`], so that the other sides can prove that they know them all.
    pub const CODES: [&'static str; 25] = [
        "bad_shape",
        "bad_dtype",
        "missing_tensor",
        "not_finite",
        "bad_safetensors",
        "bad_model",
        "bad_bundle",
        "bad_pack",
        "missing_tower",
        "hash_mismatch",
        "out_of_memory_budget",
        "model_mismatch",
        "bad_label",
        "bad_image",
        "image_too_large",
        "unsupported_image",
        "bad_classes",
        "bad_text",
        "text_too_long",
        "bad_option",
        "too_few_images",
        "bad_checkpoint",
        "diverged",
        "cancelled",
        "io",
    ];
}
