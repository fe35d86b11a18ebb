# Sourced by the scripts that build for WebAssembly, from the root of the repository: `build_wasm
# MANIFEST` builds a crate in release mode for $target into $work/target.
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
  # A module takes its randomness from the host alone.
  local flags='--cfg getrandom_backend="custom"'
  if [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
    RUSTFLAGS=$flags "${build[@]}" --lib
  else
    unpack_debian
    local lld
    lld=$(rustc --print sysroot)/lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld
    RUSTFLAGS=$flags RUSTC=$work/root/usr/bin/rustc LD_LIBRARY_PATH=$work/root/usr/lib/x86_64-linux-gnu \
      RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$lld \
      "${build[@]}" --lib -Zbuild-std=std,panic_abort
  fi
}
