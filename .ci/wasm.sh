# Sourced by the scripts that build for WebAssembly, from the root of the repository: `build_wasm
# MANIFEST` builds a crate in release mode for $target into $work/target; $made_by is the compiler.
#
# Where rustup's toolchain has the target, that is used. Elsewhere the standard library is built from
# Debian's Rust packages, unpacked below target/ (installed, they would collide with rustup's), which
# takes some minutes and an unstable flag. Where neither is possible it says so and fails: nothing is
# passed that was not run.
target=wasm32-unknown-unknown
work=$PWD/target/wasm
mkdir -p "$work/debs" "$work/root"

missing() {
  printf 'WASM NOT TESTED: %s\n' "$1" >&2
  exit 1
}

command -v node >/dev/null || missing "there is no node"

# Unpacks Debian's compiler with its source, once. Compiler and source must be of one version.
unpack_debian() {
  [ -e "$work/root/usr/lib/rustlib/src/rust" ] && return
  command -v apt-get >/dev/null || missing "no $target in this toolchain, and no apt-get to get its source with"
  apt-get update -qq || true
  local version llvm
  version=$(apt-cache show rustc-web | sed -n 's/^Version: \([0-9]*\.[0-9]*\).*/\1/p' | head -n 1)
  llvm=$(apt-cache depends "libstd-rust-web-$version" | sed -n 's/^ *Depends: \(libllvm[0-9]*\)$/\1/p')
  (cd "$work/debs" && apt-get download -q rustc-web rust-web-src "libstd-rust-web-$version" libstd-rust-web-dev "$llvm") ||
    missing "no $target in this toolchain, and Debian's Rust packages cannot be downloaded"
  local deb
  for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$work/root"; done
  local source
  source=$(echo "$work"/root/usr/src/rustc-*)
  mkdir -p "$work/root/usr/lib/rustlib/src"
  ln -s "$source" "$work/root/usr/lib/rustlib/src/rust"
}

build_wasm() {
  local build=(cargo build --release --locked --manifest-path "$1" --target "$target" --target-dir "$work/target")
  local sysroot
  sysroot=$(rustc --print sysroot)
  # A module takes its randomness from the host alone. Vectors of 128 bits are in every browser since
  # 2023. Paths of the builder's machine must not reach the module.
  local flags='--cfg getrandom_backend="custom" -C target-feature=+simd128'
  flags+=" --remap-path-prefix=$PWD=/src --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
  if [ -d "$sysroot/lib/rustlib/$target/lib" ]; then
    made_by=$(rustc --version)
    RUSTFLAGS="$flags --remap-path-prefix=$sysroot=/rust" "${build[@]}" --lib
  else
    unpack_debian
    local rustc=$work/root/usr/bin/rustc libraries=$work/root/usr/lib/x86_64-linux-gnu
    made_by=$(LD_LIBRARY_PATH=$libraries "$rustc" --version)
    RUSTFLAGS="$flags --remap-path-prefix=$work/root/usr=/rust" RUSTC=$rustc LD_LIBRARY_PATH=$libraries \
      CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$sysroot/lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld \
      RUSTC_BOOTSTRAP=1 "${build[@]}" --lib -Zbuild-std=std,panic_abort
  fi
}
