//! Models from packs: JavaScript reserves a tower's memory, streams the checked shards into it, and hands it over.
//! A call that lacks a tower or token rows throws `missing_tower`; `wanted` says what to bring before it is made again.

use crate::{Model, Result, thrown};
use cocoop_core::model::clip::Clip;
use cocoop_core::ops::Cpu;
use cocoop_core::pack::{self, Aligned, Pack};
use cocoop_core::{Error, door};
use std::sync::Arc;
use wasm_bindgen::prelude::wasm_bindgen;

/// A tower's memory while its shards are written into it.
#[wasm_bindgen]
pub struct Tower {
    pack: Arc<Pack>,
    which: pack::Tower,
    memory: Aligned,
}

#[wasm_bindgen]
impl Tower {
    /// Where the shard's bytes belong in the instance's memory.
    pub fn address(&mut self, shard: &str) -> Result<usize> {
        let place = self.pack.manifest().place_of(self.which, shard).map_err(thrown)?;
        Ok(self.memory.as_mut_slice()[place].as_mut_ptr().addr())
    }
}

#[wasm_bindgen]
impl Model {
    /// Opens a pack by the text of its manifest; nothing of its weights is in memory yet.
    #[wasm_bindgen(js_name = fromPack)]
    pub fn from_pack(manifest: &str) -> Result<Model> {
        let open = || {
            let pack = Arc::new(Pack::open(manifest)?);
            let clip = Clip::load(Cpu, pack.clone(), &pack.manifest().config)?;
            Ok(Self { clip: Arc::new(clip), pack: Some(pack) })
        };
        open().map_err(thrown)
    }

    /// JSON {towers, shards}: what calls could not do without.
    pub fn wanted(&self) -> Result<String> {
        Ok(door::wanted(self.pack()?))
    }

    /// Memory for the tower of this name.
    pub fn reserve(&self, tower: &str) -> Result<Tower> {
        let pack = self.pack()?;
        let open = || {
            let tower = pack::Tower::from_name(tower)?;
            let memory = Aligned::new(pack.manifest().towers.of(tower) as usize)?;
            // Room for the first image, given back at once: a memory that grows with each of its buffers gets JavaScript a new
            // view of it each time, and the collector to look after them.
            drop(Aligned::new(pack::image_activations(&self.clip.config) as usize)?);
            Ok(Tower { pack: Arc::clone(pack), which: tower, memory })
        };
        open().map_err(thrown)
    }

    /// Takes a tower whose shards have all been written and proven.
    #[wasm_bindgen(js_name = addTower)]
    pub fn add_tower(&self, tower: Tower) -> Result<()> {
        let Tower { which, memory, .. } = tower;
        self.pack()?.add_tower(which, vec![memory.into_bytes()]).map_err(thrown)
    }

    /// Keeps the wanted rows of one shard of the token table.
    #[wasm_bindgen(js_name = addTokens)]
    pub fn add_tokens(&self, shard: &str, bytes: &[u8]) -> Result<()> {
        self.pack()?.add_tokens(shard, bytes).map_err(thrown)
    }

    fn pack(&self) -> Result<&Arc<Pack>> {
        let why = || thrown(Error::Pack { why: "the model was not opened from one".into() });
        self.pack.as_ref().ok_or_else(why)
    }
}

/// JSON {vision, text, work}: bytes that a pack takes in memory, by the text of its manifest.
#[wasm_bindgen(js_name = packMemory)]
pub fn pack_memory(manifest: &str) -> Result<String> {
    door::pack_memory(manifest).map_err(thrown)
}
