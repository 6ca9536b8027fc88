//! Model packs: shards that are files are mapped, others taken from memory; a pack is written into a folder.

use crate::job::{Job, run};
use crate::{Cancel, Model, asks, mapped};
use cocoop_core::model::clip::Clip;
use cocoop_core::ops::Cpu;
use cocoop_core::pack::{Aligned, Pack, Sink};
use cocoop_core::{Error, door};
use napi::Either;
use napi::bindgen_prelude::{AsyncTask, Function, Uint8Array};
use napi::threadsafe_function::ThreadsafeFunctionCallMode::NonBlocking;
use napi_derive::napi;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// So much of a pack is made.
#[napi(object)]
pub struct PackProgress {
    /// Bytes so far.
    pub bytes: f64,
    /// Bytes in the end.
    pub total: f64,
}

#[napi]
impl Model {
    /// Opens a pack: the text of its manifest, and every shard in the manifest's order, as a file's path or as bytes.
    #[napi(ts_return_type = "Promise<Model>")]
    pub fn load_pack(
        manifest: String,
        shards: Vec<Either<String, Uint8Array>>,
    ) -> AsyncTask<Job<Model>> {
        let shards: Vec<_> = shards
            .into_iter()
            .map(|shard| match shard {
                Either::A(path) => Ok(path),
                Either::B(bytes) => Err(bytes.to_vec()),
            })
            .collect();
        run(move || {
            let pack = Arc::new(Pack::open(&manifest)?);
            let bytes = |shard: Result<String, Vec<u8>>| match shard {
                Ok(path) => mapped::map(&path),
                Err(bytes) => Aligned::copy(&bytes).map(Aligned::into_bytes),
            };
            pack.add_shards(shards.into_iter().map(bytes).collect::<Result<_, _>>()?)?;
            Ok(Self { clip: Arc::new(Clip::load(Cpu, pack.clone(), &pack.manifest().config)?) })
        })
    }

    /// Writes the model as a pack into `folder`, which is made: JSON {id, bits, towers}. The manifest comes last; a folder
    /// without one is no pack. Resolves to the manifest's text.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn write_pack(
        &self,
        folder: String,
        spec: String,
        #[napi(ts_arg_type = "(event: PackProgress) => void")] on_progress: Function<
            PackProgress,
            (),
        >,
        cancel: Option<&Cancel>,
    ) -> napi::Result<AsyncTask<Job<String>>> {
        let send = on_progress.build_threadsafe_function().callee_handled::<false>().build()?;
        let (clip, cancelled) = (Arc::clone(&self.clip), asks(cancel));
        Ok(run(move || {
            let folder = PathBuf::from(folder);
            std::fs::create_dir_all(&folder).map_err(|error| io(&folder, &error))?;
            let goes_on = |bytes: u64, total: u64| {
                send.call(PackProgress { bytes: bytes as f64, total: total as f64 }, NonBlocking);
                !cancelled()
            };
            let mut into = Folder { folder: &folder, goes_on };
            let manifest = door::write_pack(&clip, &spec, &mut into)?;
            into.shard("manifest.json", manifest.as_bytes())?;
            Ok(manifest)
        }))
    }
}

/// A folder that takes shards.
struct Folder<'a, F> {
    folder: &'a Path,
    goes_on: F,
}

impl<F: FnMut(u64, u64) -> bool> Sink for Folder<'_, F> {
    fn shard(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.folder.join(name);
        let write = || {
            let mut file = File::create(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(|error| io(&path, &error))
    }

    fn goes_on(&mut self, bytes: u64, total: u64) -> bool {
        (self.goes_on)(bytes, total)
    }
}

fn io(path: &Path, error: &std::io::Error) -> Error {
    Error::Io { path: path.display().to_string(), why: error.to_string() }
}
