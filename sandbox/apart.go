package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Apart makes, of a directory or file that is open with O_PATH, one that can be handed to a
// process that is closed in: on a mount of its own that is mounted nowhere, with what is
// mounted below. From the descriptor of a directory as it is, ".." leads to all files of the
// host, whatever root directory a process has. From this one it leads nowhere.
//
// The mount is nodev, nosuid and nosymfollow, and with readOnly the kernel refuses all
// changes, as far as it knows these flags. What the host mounts below later may not appear.
//
// It takes CAP_SYS_ADMIN (EPERM) and Linux 5.2 (ENOSYS). Rules of
// Landlock for directories above f do not hold in the new mount, which has no way up to
// them: that is what [ApartWithin] is for. f stays the caller's, and so is the result.
func Apart(f *os.File, readOnly bool) (*os.File, error) {
	clone, err := cloneMount(f)
	if err == nil {
		if err = restrictMount(clone, readOnly); err == nil || errors.Is(err, unix.ENOSYS) {
			return clone, nil
		}
		clone.Close()
	}
	return nil, fmt.Errorf("give %s a mount of its own: %w", f.Name(), err)
}

// ApartWithin is Apart with a mount of dir, which f is in: ".." leads up to dir and no
// further. So it is in reach of a process that Landlock closes in, if dir is one of its
// Config.Later and f is on the same mount, not on one below.
func ApartWithin(dir, f *os.File, readOnly bool) (*os.File, error) {
	clone, err := Apart(dir, readOnly)
	if err != nil {
		return nil, err
	}
	defer clone.Close()
	path, err := pathWithin(dir, f)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Openat2(int(clone.Fd()), path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return nil, fmt.Errorf("find %s in %s: %w", f.Name(), dir.Name(), err)
	}
	found := os.NewFile(uintptr(fd), f.Name())
	var st, of unix.Stat_t
	err = errors.Join(unix.Fstat(fd, &st), unix.Fstat(int(f.Fd()), &of))
	if err == nil && (st.Dev != of.Dev || st.Ino != of.Ino) {
		err = fmt.Errorf("%s has been replaced meanwhile", f.Name())
	}
	if err != nil {
		found.Close()
		return nil, err
	}
	return found, nil
}

// pathWithin is the way from dir to f, without symbolic links.
func pathWithin(dir, f *os.File) (string, error) {
	var names [2]string
	for i, f := range []*os.File{dir, f} {
		var err error
		if names[i], err = os.Readlink("/proc/self/fd/" + strconv.Itoa(int(f.Fd()))); err != nil {
			return "", fmt.Errorf("where is %s: %w", f.Name(), err)
		}
	}
	path, err := filepath.Rel(names[0], names[1])
	if err != nil || path == ".." || strings.HasPrefix(path, "../") {
		return "", fmt.Errorf("%s is not in %s", f.Name(), dir.Name())
	}
	return path, nil
}
