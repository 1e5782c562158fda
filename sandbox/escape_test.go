//go:build !cgo

package sandbox

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	secretText = "the host's"
	// escapeUser is an ordinary user.
	escapeUser = 12345
)

// handle is a file handle.
type handle struct {
	Type  int32
	Bytes []byte
}

// scene is what the attacker knows of the host: all that it is after.
type scene struct {
	Dir    string // with the directory share, and a secret beside it
	Secret string
	Handle handle // of the secret

	ElsewhereDir string // on another file system
	Elsewhere    handle // of a secret there

	Disk    string // the host's, in /dev
	DiskDev uint64

	Victim     int // a process of the same user
	VictimAddr uintptr
	TCP        int // ports that are listened on
	Abstract   string
}

// column is a combination of layers on which every attack is tried.
type column struct {
	name    string
	layers  layer
	mode    Mode
	handles bool
	user    bool
	// control: attacks have to work.
	control bool
	// open are attacks that work although all layers are there, with the reason. The
	// name "files" stands for all that open a file.
	open map[string]string
}

// Why some attacks stay open.
const (
	sharedFS = "CAP_DAC_READ_SEARCH reaches all of the share's file system by handle"
	noMount  = "there is no mount of the share's own to be nodev, and the guest's root may make device nodes"
	readAll  = "there is no mount of the share's own to be read-only: the server itself refuses what guests may not do"
	noChild  = "no new process leaves the descriptor behind, and with file handles Landlock has no path rules"
	noTop    = "the share is no mount of its own, where .. would end, and with file handles Landlock has no path rules"
	noLayer  = "with file handles Landlock has no path rules, and this mode is for a launcher that keeps files away itself"
)

const (
	viaHandle = "… by handle, on the share's mount"
	viaMove   = "… by a directory that the host moved out"
	viaLeak   = "… by a descriptor left open"
	viaZero   = "make the node of a device (zero), open it"
	viaDisk   = "make the node of the host's disk, open it"
	everyFile = "files"
)

// mayWork tells whether an attack is one of those that are open, and why. On a kernel
// whose Landlock has no path rules, a mode is as open as it is with file handles.
func (c *column) mayWork(attack string, pathRules bool) (why string, ok bool) {
	if !pathRules && c.mode != ModeNamespace {
		for i := range columns {
			if columns[i].mode == c.mode && columns[i].handles && attack != viaHandle {
				c = &columns[i]
			}
		}
	}
	if why, ok = c.open[attack]; ok {
		return why, ok
	}
	why, ok = c.open[everyFile]
	return why, ok && (strings.HasPrefix(attack, "open ") || strings.HasPrefix(attack, "…") || strings.HasPrefix(attack, "write "))
}

var columns = []column{
	{name: "none", control: true},
	{name: "namespaces", layers: inNamespace},
	{name: "capabilities", layers: lessCaps},
	{name: "no_new_privs", layers: noPrivs},
	{name: "Landlock", layers: withLandlock},
	{name: "seccomp", layers: withSeccomp},
	{name: "ALL", layers: allLayers},
	{name: "ALL, handles", layers: allLayers, handles: true, open: map[string]string{viaHandle: sharedFS}},
	{name: "chroot", layers: inNamespace, mode: ModeChroot},
	{name: "chroot ALL", layers: allLayers, mode: ModeChroot, open: map[string]string{viaZero: noMount, viaDisk: noMount}},
	{name: "chroot ALL, handles", layers: allLayers, mode: ModeChroot, handles: true, open: map[string]string{
		viaZero: noMount, viaDisk: noMount, viaHandle: sharedFS, viaMove: noTop, viaLeak: noChild,
		"write to a read-only share": readAll,
	}},
	{name: "none ALL", layers: allLayers, mode: ModeNone, open: map[string]string{viaZero: noMount, viaDisk: noMount}},
	{name: "none ALL, handles", layers: allLayers, mode: ModeNone, handles: true, open: map[string]string{
		viaZero: noMount, viaDisk: noMount, everyFile: noLayer,
	}},
	{name: "user: none", user: true},
	{name: "user: namespaces", user: true, layers: inNamespace},
	{name: "user: ALL", user: true, layers: allLayers},
}

// TestNothingGetsOut tries to get out of the closed process in every way, as
// somebody would who has taken it over: without the sandbox, where it must work or the
// attack would prove nothing, with each of the layers alone, and with all of them, where it
// must fail. It prints what each attack was answered: "through", the error, or SIGSYS,
// of which the process died.
func TestNothingGetsOut(t *testing.T) {
	stage := newStage(t)
	results := make([][]string, len(attacks))
	var work sync.WaitGroup
	slots := make(chan struct{}, 4)
	for i := range attacks {
		results[i] = make([]string, len(columns))
		for k := range columns {
			work.Add(1)
			slots <- struct{}{}
			go func() {
				defer work.Done()
				defer func() { <-slots }()
				results[i][k] = stage.try(&attacks[i], &columns[k])
			}()
		}
	}
	work.Wait()

	abi, err := landlockABI()
	pathRules := err == nil && abi >= landlockRefer
	// What is printed below the table, and of which attacks it is true.
	notes := map[string][]string{}
	for i, a := range attacks {
		for k, c := range columns {
			r := results[i][k]
			why, open := c.mayWork(a.name, pathRules)
			switch {
			case strings.HasPrefix(r, answerBroken):
				t.Errorf("%s, %s: %s", a.name, c.name, r)
			case r != answerThrough && c.control && a.needs == "":
				t.Errorf("%s: refused without a sandbox: %s", a.name, r)
			case r != answerThrough && c.control:
				note := fmt.Sprintf("%s without a sandbox: it takes %s", r, a.needs)
				notes[note] = append(notes[note], a.name)
			case r == answerThrough && c.layers == allLayers && !open:
				t.Errorf("%s: NOT REFUSED with all layers (%s)", a.name, c.name)
			case r == answerThrough && open:
				note := fmt.Sprintf("through in %q: %s", c.name, why)
				notes[note] = append(notes[note], a.name)
			}
		}
	}
	printed := table(results)
	for _, note := range slices.Sorted(maps.Keys(notes)) {
		printed += fmt.Sprintf("%s\n    %s\n", note, strings.Join(notes[note], "\n    "))
	}
	t.Log("\n" + printed)
}

// table is what is printed.
func table(results [][]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-46s", "")
	for _, c := range columns {
		fmt.Fprintf(&b, "|%-*s", max(8, len(c.name)), c.name)
	}
	b.WriteByte('\n')
	for i, a := range attacks {
		b.WriteString(a.name + strings.Repeat(" ", 46-len([]rune(a.name))))
		for k, c := range columns {
			fmt.Fprintf(&b, "|%-*s", max(8, len(c.name)), results[i][k])
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// stage is the host with all that there is to be attacked.
type stage struct {
	base     string
	scene    scene
	victims  [2]victim // root's, the user's
	programs [2][]byte

	mu   sync.Mutex
	next int
}

type victim struct {
	pid  int
	addr uintptr
}

func newStage(t *testing.T) *stage {
	t.Helper()
	base, err := os.MkdirTemp("", "sandbox-escape")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	elsewhere, err := os.MkdirTemp("/dev/shm", "sandbox-escape")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(elsewhere) })
	s := &stage{base: base, programs: [2][]byte{program(exitThrough), program(exitThrough, geteuidIsZero...)}}
	secret := filepath.Join(elsewhere, "secret")
	for _, err := range []error{
		os.Chmod(base, 0o755), os.Chmod(elsewhere, 0o755), os.WriteFile(secret, []byte(secretText), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.scene.ElsewhereDir = elsewhere
	s.scene.Elsewhere = handleOf(t, secret)
	s.scene.Disk, s.scene.DiskDev = findDisk(base)
	s.scene.Abstract = fmt.Sprintf("@sandbox-escape-%d", os.Getpid())
	listen := func(network, addr string) net.Listener {
		l, err := net.Listen(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	listen("unix", s.scene.Abstract)
	tcp := listen("tcp4", "127.0.0.1:0").Addr().(*net.TCPAddr)
	s.scene.TCP = tcp.Port
	for i, uid := range []int{0, escapeUser} {
		s.victims[i] = startVictim(t, uid)
	}
	return s
}

func handleOf(t *testing.T, path string) handle {
	t.Helper()
	h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, path, 0)
	if err != nil {
		t.Fatalf("handle of %s: %v", path, err)
	}
	return handle{h.Type(), h.Bytes()}
}

// findDisk finds the disk that a directory lies on, or else any.
func findDisk(dir string) (string, uint64) {
	entries, _ := os.ReadDir("/sys/class/block")
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "loop") || strings.HasPrefix(e.Name(), "ram") {
			continue
		}
		path := filepath.Join("/dev", e.Name())
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK {
			return path, st.Rdev
		}
	}
	return "/dev/no-disk", unix.Mkdev(8, 0)
}

// startVictim starts a process of a user, which waits.
func startVictim(t *testing.T, uid int) victim {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{envEscape + "=" + victimJob}
	cmd.Dir = "/"
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); cmd.Wait() })
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	from, _, _ := strings.Cut(string(maps), "-")
	addr, err := strconv.ParseUint(from, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return victim{cmd.Process.Pid, uintptr(addr)}
}

// set makes a directory for one job.
func (s *stage) set(c *column) (scene, func(), error) {
	s.mu.Lock()
	s.next++
	dir := filepath.Join(s.base, strconv.Itoa(s.next))
	s.mu.Unlock()
	share := filepath.Join(dir, "share")
	sc := s.scene
	sc.Dir, sc.Secret = dir, filepath.Join(dir, "secret")
	owner, v := 0, s.victims[0]
	if c.user {
		owner, v = escapeUser, s.victims[1]
	}
	sc.Victim, sc.VictimAddr = v.pid, v.addr
	err := errors.Join(
		os.Mkdir(dir, 0o755),
		os.Mkdir(share, 0o755),
		os.Mkdir(filepath.Join(share, "sub"), 0o755),
		os.WriteFile(sc.Secret, []byte(secretText), 0o644),
		os.Symlink("../secret", filepath.Join(share, "link")),
		os.WriteFile(filepath.Join(share, "program"), s.programs[0], 0o755),
		os.WriteFile(filepath.Join(share, "setuid"), s.programs[1], 0o755),
		os.Chmod(filepath.Join(share, "setuid"), 0o755|os.ModeSetuid),
		os.Chown(dir, owner, owner), os.Chown(share, owner, owner), os.Chown(filepath.Join(share, "sub"), owner, owner),
		os.Chown(sc.Secret, owner, owner),
	)
	if err != nil {
		return sc, nil, err
	}
	h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, sc.Secret, 0)
	if err != nil {
		return sc, nil, err
	}
	sc.Handle = handle{h.Type(), h.Bytes()}
	var sockets []net.Listener
	for _, path := range []string{dir + "/socket", share + "/socket"} {
		l, err := net.Listen("unix", path)
		if err != nil {
			return sc, nil, err
		}
		if err := os.Chmod(path, 0o777); err != nil {
			return sc, nil, err
		}
		sockets = append(sockets, l)
	}
	return sc, func() {
		for _, l := range sockets {
			l.Close()
		}
		// An attack that worked has mounted something on the host.
		unix.Unmount(filepath.Join(share, "sub"), unix.MNT_DETACH)
	}, nil
}

// try carries out an attack in a process of its own and returns what became of it.
func (s *stage) try(a *attackCase, c *column) string {
	sc, clear, err := s.set(c)
	if err != nil {
		return answerBroken + err.Error()
	}
	defer clear()
	if a.mount {
		if err := unix.Mount("none", filepath.Join(sc.Dir, "share/sub"), "tmpfs", 0, "size=1m"); err != nil {
			return answerBroken + err.Error()
		}
	}
	j := escapeJob{Attack: a.name, Layers: c.layers, Scene: sc, Config: Config{
		Mode: c.mode, Shares: []Share{{Path: filepath.Join(sc.Dir, "share"), ReadOnly: a.readOnly}},
		FileHandles: c.handles || a.handles, Keep: ServerCaps(c.handles || a.handles),
	}}
	spec, err := json.Marshal(j)
	if err != nil {
		return answerBroken + err.Error()
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return answerBroken + err.Error()
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "control"), os.NewFile(uintptr(pair[1]), "control")
	defer ours.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args[0] = "sandbox-escape"
	cmd.Dir = "/"
	cmd.Env = []string{envEscape + "=" + string(spec)}
	cmd.ExtraFiles = []*os.File{theirs}
	if c.user {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: escapeUser, Gid: escapeUser}}
	}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return answerBroken + err.Error()
	}
	// The bound is for a test that is broken: the attack is over in milliseconds.
	stuck := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
	defer stuck.Stop()
	answer := ""
	for lines := bufio.NewScanner(ours); lines.Scan(); {
		answer = lines.Text()
		err, asked := error(nil), true
		switch answer {
		case answerMove:
			err = os.Rename(filepath.Join(j.Config.Shares[0].Path, "sub"), filepath.Join(sc.Dir, "sub"))
		case answerDrop:
			err = dropCaches(j.Config.Shares[0].Path)
		default:
			asked = false
		}
		if asked {
			answer = ""
			if err != nil {
				answer = answerBroken + err.Error()
			}
			ours.Write([]byte{0})
		}
	}
	cmd.Wait()
	if answer != "" {
		return strings.TrimPrefix(answer, answerRefused)
	}
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case status.Signaled() && status.Signal() == unix.SIGSYS, status.ExitStatus() == 128+int(unix.SIGSYS):
		return "SIGSYS"
	case status.ExitStatus() == exitThrough:
		return answerThrough
	case status.ExitStatus() == exitThrough+1:
		return "not root"
	}
	return fmt.Sprintf("%sno answer, %v", answerBroken, cmd.ProcessState)
}

// exitThrough is the status of a program that runs, one more that of one which runs
// without the rights that it is after.
const exitThrough = 42

// geteuidIsZero ends with the status exitThrough+1 unless the process acts for root.
var geteuidIsZero = []byte{
	0xb8, unix.SYS_GETEUID, 0, 0, 0, // mov eax, SYS_GETEUID
	0x0f, 0x05, // syscall
	0x85, 0xc0, // test eax, eax
	0x74, 0x0c, // jz over the next three
	0xbf, exitThrough + 1, 0, 0, 0, // mov edi, exitThrough+1
	0xb8, unix.SYS_EXIT_GROUP, 0, 0, 0, // mov eax, SYS_EXIT_GROUP
	0x0f, 0x05, // syscall
}

// program is an ELF file of one segment that runs some code and ends with a status. It
// needs nothing else, so that only the sandbox can keep it from running.
func program(status byte, code ...byte) []byte {
	const base, headers = 0x400000, 64 + 56
	code = append(code,
		0xbf, status, 0, 0, 0, // mov edi, status
		0xb8, unix.SYS_EXIT_GROUP, 0, 0, 0, // mov eax, SYS_EXIT_GROUP
		0x0f, 0x05) // syscall
	b := []byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	le := binary.LittleEndian
	half := func(v ...uint16) {
		for _, v := range v {
			b = le.AppendUint16(b, v)
		}
	}
	word := func(v ...uint32) {
		for _, v := range v {
			b = le.AppendUint32(b, v)
		}
	}
	quad := func(v ...uint64) {
		for _, v := range v {
			b = le.AppendUint64(b, v)
		}
	}
	size := uint64(headers + len(code))
	half(2, 62)                     // ET_EXEC, EM_X86_64
	word(1)                         // version
	quad(base+headers, 64, 0)       // entry, program headers, section headers
	word(0)                         // flags
	half(64, 56, 1, 0, 0, 0)        // sizes and numbers of headers
	word(1, 5)                      // PT_LOAD, readable and executable
	quad(0, base, base, size, size) // offset, addresses, sizes
	quad(0x1000)                    // alignment
	return append(b, code...)
}
