package fusedev

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/oslib"
)

// helper mounts by fusermount3, which is installed setuid root and decides what
// ordinary users may do.
type helper struct{}

// helperNames are the programs to look for: that of libfuse 3, and that of its
// predecessor, which knows the same options.
var helperNames = [...]string{"fusermount3", "fusermount"}

// commFD is where the helper finds its socket: the first of exec.Cmd.ExtraFiles.
const commFD = "_FUSE_COMMFD=3"

func findHelper() (string, error) {
	for _, name := range helperNames {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("without CAP_SYS_ADMIN mounting takes %s, which is not in PATH (Debian has it in the package fuse3)", helperNames[0])
}

// helperOptions returns the argument of -o. A backslash takes the meaning from a
// comma.
func helperOptions(opt *Options) string {
	escape := strings.NewReplacer(`\`, `\\`, `,`, `\,`)
	words := []string{"fsname=" + escape.Replace(opt.FSName), "subtype=" + opt.Subtype, "default_permissions"}
	for _, w := range [...]struct {
		set  bool
		word string
	}{
		{opt.AllowOther, "allow_other"},
		{opt.ReadOnly, "ro"},
		{opt.AllowSUID, "suid"},
		{opt.AllowDev, "dev"},
	} {
		if w.set {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, ",")
}

// mount runs the helper, which opens /dev/fuse, mounts, and hands the descriptor
// over as SCM_RIGHTS on the socket.
func (helper) mount(at *mountPoint, opt *Options) (int, error) {
	path, err := findHelper()
	if err != nil {
		return -1, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socketpair: %w", err)
	}
	ours, theirs := pair[0], os.NewFile(uintptr(pair[1]), "socket of "+path)
	defer oslib.Close(ours)
	cmd := exec.Command(path, "-o", helperOptions(opt), "--", at.path)
	cmd.Env = append(os.Environ(), commFD)
	cmd.ExtraFiles = []*os.File{theirs}
	err = runHelper(cmd)
	theirs.Close()
	if err != nil {
		return -1, err
	}
	return receiveDevice(ours)
}

// runHelper runs the helper and makes its words part of its error.
func runHelper(cmd *exec.Cmd) error {
	var words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &words, &words
	if err := cmd.Run(); err != nil {
		said := strings.TrimSpace(words.String())
		err = fmt.Errorf("%s: %w", cmd.Path, err)
		switch {
		case strings.Contains(said, "Device or resource busy"):
			err = fmt.Errorf("%w: %w", err, unix.EBUSY)
		case said != "":
			err = fmt.Errorf("%w: %s", err, said)
		}
		return err
	}
	return nil
}

// receiveDevice takes the one descriptor that the helper has sent before it
// ended.
func receiveDevice(socket int) (int, error) {
	data, oob := make([]byte, 16), make([]byte, unix.CmsgSpace(4*8))
	_, n, _, _, err := unix.Recvmsg(socket, data, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("descriptor of the mount: %w", err)
	}
	var fds []int
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	for _, m := range msgs {
		if got, err := unix.ParseUnixRights(&m); err == nil {
			fds = append(fds, got...)
		}
	}
	if err != nil || len(fds) != 1 {
		for _, fd := range fds {
			oslib.Close(fd)
		}
		return -1, errors.New("the helper did not send the descriptor of the mount")
	}
	return fds[0], nil
}

func (helper) unmount(dir string, lazy bool) error {
	path, err := findHelper()
	if err != nil {
		return err
	}
	args := []string{"-u", "--", dir}
	if lazy {
		args = []string{"-u", "-z", "--", dir}
	}
	return runHelper(exec.Command(path, args...))
}
