//! Mounts of a test, in a mount namespace of its own.

/// The beginning of a shell script in a new mount namespace (`unshare --mount --propagation unchanged`): from here on, no
/// mount reaches the namespace that this one is a copy of. `unshare` itself can do this only where the root directory is a
/// mount point, which it is not in a plain chroot.
pub const PRIVATE: &str = r#"set -e
# The mounts below must not reach the namespace that this one is a copy of.
if ! mount --make-rprivate / 2> /dev/null; then
    while read -r _ _ _ _ at _; do mount --make-private "$at" 2> /dev/null || true; done < /proc/self/mountinfo
    # The root directory of a plain chroot is no mount point. Its mounts stay here if its file system is not shared.
    device=$(stat -c %Hd:%Ld /)
    holders=$(while read -r _ _ at rest; do [ "$at" != "$device" ] || echo "$rest"; done < /proc/1/mountinfo)
    case $holders in
    '' | *' shared:'*)
        echo 'the root directory of this chroot is no mount point; run `mount --bind DIR DIR` before chroot DIR' >&2
        exit 1
        ;;
    esac
fi
"#;
