//! `wasm-bindgen` as wasm-pack calls it: the options of its `build` command and no others.
//! The work is wasm-bindgen's own library; its published command adds other commands and three times the crates.

use anyhow::{Context, Result, bail};
use std::env;
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<()> {
    let mut bindgen = Bindgen::new();
    let (mut input, mut out_dir) = (None, None);
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--version" => {
                println!("wasm-bindgen {}", wasm_bindgen_shared::version());
                return Ok(());
            }
            "--out-dir" => out_dir = Some(value()?),
            "--out-name" => {
                bindgen.out_name(&value()?);
            }
            "--target" => match value()?.as_str() {
                "web" => {
                    bindgen.web(true)?;
                }
                other => bail!("--target {other}: only web is built here"),
            },
            "--typescript" => {
                bindgen.typescript(true);
            }
            "--no-typescript" => {
                bindgen.typescript(false);
            }
            "--debug" => {
                bindgen.debug(true);
            }
            "--no-demangle" => {
                bindgen.demangle(false);
            }
            "--keep-debug" => {
                bindgen.keep_debug(true);
            }
            "--omit-default-module-path" => {
                bindgen.omit_default_module_path(true);
            }
            "--split-linked-modules" => {
                bindgen.split_linked_modules(true);
            }
            flag if flag.starts_with('-') => bail!("unknown option {flag}"),
            path => input = Some(path.to_owned()),
        }
    }
    bindgen.input_path(input.context("no .wasm file given")?);
    bindgen.generate(out_dir.context("--out-dir is missing")?)
}
