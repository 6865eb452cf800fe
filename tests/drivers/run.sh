#!/usr/bin/env bash
# The self-test on software Vulkan drivers other than the installed one, and the compilers of GPUs that are not here, on Debian and its
# relatives:
#   tests/drivers/run.sh [swiftshader] [mesa] [standins]
# swiftshader  Google's, from the package chromium-common, unpacked and not installed: subgroups of 4, 256 invocations in a workgroup,
#              10 storage buffers, no f16: about the least that WebGPU promises. The default.
# mesa         Debian unstable's, in a folder of its own (as root, with debootstrap; 1 GB): matrix units of 8 x 8 x 8 in software, so
#              that matmul_coop runs, subgroups of 4, 8 and 16, and 48 KiB of workgroup memory (workgroup_memory.c), so that every
#              variant of ode_rows does.
# standins     the same system's drivers for GPUs of NVIDIA (NVK), AMD (RADV), Qualcomm (Turnip) and Apple (Honeykrisp), each on a stand-in
#              for the kernel's part (mesa-drm-shim): they compile every kernel, matrix units too, and none may spill registers to memory
#              (benches/driver_statistics.rs; on older Adrenos the largest tiles do). Nothing runs there.
# Everything lies in a temporary folder, or in DRIVERS_DIR, where a second run finds it. `cargo build --release` comes before.
set -euo pipefail
cd "$(dirname "$0")/../.."

advect="${CARGO_TARGET_DIR:-$PWD/target}/release/advect"
[ -x "$advect" ] || { echo "no $advect: run cargo build --release first" >&2; exit 1; }
if [ -n "${DRIVERS_DIR:-}" ]; then
    mkdir -p "$DRIVERS_DIR"
    folder="$(cd "$DRIVERS_DIR" && pwd)"
else
    folder="$(mktemp -d)"
    trap 'rm -rf "$folder"' EXIT
fi
export ADVECT_CACHE_DIR=off XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-$folder}"

swiftshader() {
    local here="$folder/swiftshader" library
    if ! [ -e "$here/icd.json" ]; then
        mkdir -p "$here"
        (cd "$here" && apt-get download -q chromium-common) ||
            { apt-get update -q && (cd "$here" && apt-get download -q chromium-common); }
        (cd "$here" && dpkg-deb -x chromium-common_*.deb . && rm chromium-common_*.deb)
        library="$(find "$here" -name libvk_swiftshader.so)"
        printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "%s", "api_version": "1.1.0"}}\n' "$library" >"$here/icd.json"
    fi
    # Loaders of before 1.3.234 know the other name.
    VK_DRIVER_FILES="$here/icd.json" VK_ICD_FILENAMES="$here/icd.json" "$advect" selftest --device SwiftShader
}

# Debian unstable in $root, with its Mesa: that needs a newer C library than a stable system has, hence a system of its own.
unstable() {
    [ -e "$(echo "$root"/usr/lib/*/libnouveau_noop_drm_shim.so)" ] ||
        debootstrap --variant=minbase --include=mesa-vulkan-drivers,mesa-drm-shim,libvulkan1,libvulkan-dev,gcc,libc6-dev sid "$root" \
            >"$folder/debootstrap.log" || { tail -n 5 "$folder/debootstrap.log" >&2; return 1; }
}

mesa() {
    local root="$folder/mesa" layer=/usr/local/share/vulkan/explicit_layer.d bits
    unstable || return 1
    if ! [ -e "$root$layer/workgroup_memory.json" ]; then
        mkdir -p "$root$layer"
        cp tests/drivers/workgroup_memory.c "$root$layer/"
        chroot "$root" gcc -shared -fPIC -O1 -o "$layer/workgroup_memory.so" "$layer/workgroup_memory.c"
        printf '{"file_format_version": "1.2.0", "layer": {"name": "VK_LAYER_workgroup_memory", "type": "GLOBAL",
            "library_path": "%s/workgroup_memory.so", "api_version": "1.3.0", "implementation_version": "1",
            "description": "48 KiB"}}\n' "$layer" >"$root$layer/workgroup_memory.json"
    fi
    cp -f "$advect" "$root/usr/local/bin/advect"
    for bits in 256 128 512; do
        chroot "$root" env VK_DRIVER_FILES=/usr/share/vulkan/icd.d/lvp_icd.json XDG_RUNTIME_DIR=/tmp LP_NATIVE_VECTOR_WIDTH="$bits" \
            VK_INSTANCE_LAYERS=VK_LAYER_workgroup_memory VK_LAYER_PATH="$layer" /usr/local/bin/advect selftest --device llvmpipe
    done
}

standins() {
    local root="$folder/mesa" statistics stand_in name library driver choice may_spill
    unstable || return 1
    statistics="$(cargo build --locked --release --quiet --bench driver_statistics --message-format=json |
        sed -n 's/.*"executable":"\([^"]*driver_statistics[^"]*\)".*/\1/p')"
    cp -f "$statistics" "$root/usr/local/bin/driver_statistics"
    # A name for the file of results, the stand-in and the driver, and which GPU it is: Ampere, RDNA 2, 3 and 4, Adreno, M1.
    while read -r name library driver choice may_spill; do
        stand_in="$(echo "$root/usr/lib"/*/"lib${library}_noop_drm_shim.so")"
        chroot "$root" env "$choice" LD_PRELOAD="${stand_in#"$root"}" \
            VK_DRIVER_FILES="/usr/share/vulkan/icd.d/${driver}_icd.json" XDG_RUNTIME_DIR=/tmp MESA_SHADER_CACHE_DISABLE=true \
            /usr/local/bin/driver_statistics $may_spill >"$folder/$name.md" || return 1
        tail -n 1 "$folder/$name.md"
    done <<'END'
nvidia-ampere nouveau nouveau NOUVEAU_CHIPSET=172
amd-rdna2 amdgpu radeon AMDGPU_GPU_ID=navi21
amd-rdna3 amdgpu radeon AMDGPU_GPU_ID=navi31
amd-rdna4 amdgpu radeon AMDGPU_GPU_ID=gfx1201
adreno-660 freedreno freedreno FD_GPU_ID=660 --may-spill
adreno-740 freedreno freedreno FD_GPU_ID=740
apple-m1 asahi asahi UNUSED=
END
}

for driver in "${@:-swiftshader}"; do
    case "$driver" in
    swiftshader | mesa | standins) "$driver" ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '$d' >&2; exit 2 ;;
    esac
done
