package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/internal/lab"
	"github.com/isthmus-fs/isthmus/vfs"
)

// An ordinary user of the host, and what is subordinate to it.
const (
	hostUID  = 47110
	hostGID  = 47111
	subUID   = 500_000 // this and the ids that follow
	subGID   = 700_000
	subCount = 200_000
	userName = "isthmus-e2e"
)

// ordinary is that user, with a home that is closed to others, which is also
// where its daemon has its socket.
type ordinary struct {
	home, share string
	launch
}

func newOrdinary(t *testing.T) *ordinary {
	t.Helper()
	home, err := os.MkdirTemp("", "isthmus-home-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	u := &ordinary{home: home, share: filepath.Join(home, "share")}
	u.socket = filepath.Join(home, "s")
	u.dir = home
	u.env = []string{"HOME=" + home}
	u.credential = &syscall.Credential{Uid: hostUID, Gid: hostGID}
	if err := os.Mkdir(u.share, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{u.share, home} {
		if err := os.Chown(path, hostUID, hostGID); err != nil {
			t.Fatal(err)
		}
	}
	// The program is in a directory of the test's.
	if err := os.Chmod(filepath.Dir(isthmus), 0o755); err != nil {
		t.Fatal(err)
	}
	return u
}

// withSubordinates gives the user a name, and ranges of ids, in files that only
// the daemon sees: they are mounted over those of the host in a mount namespace
// of its own.
func (u *ordinary) withSubordinates(t *testing.T) *ordinary {
	t.Helper()
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	files := t.TempDir()
	mounts := ""
	for name, text := range map[string]string{
		"passwd": string(passwd) + fmt.Sprintf("%s:x:%d:%d::%s:/bin/sh\n", userName, hostUID, hostGID, u.home),
		"subuid": fmt.Sprintf("%s:%d:%d\n", userName, subUID, subCount),
		"subgid": fmt.Sprintf("%s:%d:%d\n", userName, subGID, subCount),
	} {
		path := filepath.Join(files, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		target := "/etc/" + name
		if _, err := os.Stat(target); err != nil {
			t.Fatalf("%v: install the Debian package uidmap", err)
		}
		mounts += fmt.Sprintf("mount --bind %s %s\n", path, target)
	}
	u.wrapper = []string{
		"unshare", "--mount", "--propagation", "private", "sh", "-euc",
		mounts + fmt.Sprintf(`exec setpriv --reuid=%d --regid=%d --clear-groups --inh-caps=-all --bounding-set=+all -- "$@"`, hostUID, hostGID), "sh",
	}
	u.credential = nil
	return u
}

// What guest root cannot do on a share of an ordinary user's, whatever the
// daemon does, by the names of the tests that need it.
var (
	// Linux lets nobody in a user namespace make a device.
	needDevices = []string{
		"TestListingsTellTypeAndInodeOfEveryEntry", "TestSpecialFilesKeepTypeModeAndDevice",
		"TestDeviceNodesAreThoseOfTheMachineThatOpensThem", "TestStatxTellsWhatStatDoesAndTheBirth",
		"TestTrustedAndSecurityAttributesAreForEveryKindOfFile", "TestReadingSetsTheAccessTime",
	}
	// Nor keep setuid through a write: that takes CAP_FSETID over the host.
	needFSETID = []string{"TestPrivilegesEndWithAChange", "TestSetuidDoesNotSurviveAStrangersChange"}
	// Nor give files to ids that it has not.
	needAllIDs = []string{"TestModeBitsAreAllKept"}
	// The tests of a share that is read-only are for such a share.
	notHere = []string{"TestNothingChangesOnAReadOnlyShare"}
)

// aloneTests are those that know no user but the one who runs them.
var aloneTests = []string{
	"TestInodeFlagsCanBeSetAndRead", "TestUnknownIoctlsAreRefused", "TestStatfsIsPlausibleAndTheSameEverywhere",
	"TestInodeNumbersStayAndDiffer", "TestAFileReadsBackWhatWasWritten", "TestBigTransfersAtOddOffsetsAreExact",
	"TestSmallOverwritesLeaveTheirSurroundings", "TestReadsEndAtTheEndOfTheFile", "TestAppendsFromTwoDescriptorsNeverOverwrite",
	"TestTruncationCutsAndExtendsWithZeros", "TestManyIovecsAreReadAndWrittenInOrder", "TestDuplicatedDescriptorsShareOnePosition",
	"TestSyncCallsSucceed", "TestDirectIOMovesTheSameBytes", "TestReplacingAFileByRenameShowsOldOrNewButNeverBoth",
	"TestCopyFileRangeCopiesExactlyTheRange", "TestSendfileAndSpliceMoveTheBytesUnchanged",
	"TestALongListingIsExactWhileTheDirectoryChanges", "TestAListingMayRemoveWhatItLists", "TestDirectoryPositionsLeadBackToTheirPlace",
	"TestOnlyEmptyDirectoriesAreRemoved", "TestARemovedDirectoryStaysOpenAndEmpty", "TestAChangedDirectoryHasNewTimes",
	"TestHardLinksAreOneFileUnderManyNames", "TestDirectoryLinkCountsFollowTheirSubdirectories",
	"TestSymbolicLinksKeepTheirTextWhateverItSays", "TestSymbolicLinksAreFollowedWhereTheyShouldBe", "TestTemporaryFilesGetTheirNameLater",
	"TestRecordLocksConflictWhereTheyOverlap", "TestFlockBelongsToTheOpenFile", "TestThousandsOfSmallFilesComeAndGo",
	"TestParallelWritersOfOneFileDoNotDisturbEachOther", "TestParallelAppendersLoseNothing", "TestParallelWorkInOneDirectoryIsConsistent",
	"TestSharedMappingsAndReadsSeeEachOther", "TestStoresInASharedMappingOutliveIt", "TestPrivateMappingsKeepTheirStoresToThemselves",
	"TestEveryNameButSlashAndNULIsJustBytes", "TestNamesAndPathsThatAreTooLongAreRefused", "TestDirectoriesNestDeeperThanAPathIsLong",
	"TestOpenFlagsDecideWhatMayBeOpened", "TestFiveHundredFilesMayBeOpenAtOnce", "TestRandomOperationsAgreeWithAModel",
	"TestRenameFollowsItsRules", "TestOpenFilesSurviveUnlinkAndRename", "TestADirectoryMayMoveUnderneathItsUsers",
	"TestFallocateReservesSpaceAndReadsAsZeros", "TestPunchedHolesReadAsZerosAndFreeSpace", "TestSeekFindsHolesAndData",
	"TestAFifoCarriesBytesBetweenItsOpeners", "TestASocketConnectsProcessesOfTheSameMachine", "TestTimesAreKeptToTheNanosecond",
	"TestNowAndOmitAreHonouredForEachTime", "TestExtendedAttributesKeepNamesAndValues", "TestExtendedAttributeCallsFollowTheirRules",
}

// TestRootless has an ordinary user, without a capability, serve a directory of
// its own to a real guest, with no id but its own.
func TestRootless(t *testing.T) {
	t.Parallel()
	u := newOrdinary(t)
	d := u.serve(t, u.share)
	checkOrdinary(t, d)
	if n := guestTests(t, d, "-test.run", oneOf(aloneTests)); n != len(aloneTests) {
		t.Errorf("%d tests ran of %d", n, len(aloneTests))
	}
	out := run(t, guest(lab.UML, d, sh(makeFilesAsRoot+`
		chown 1000:1000 file 2>/dev/null || echo nobody to give it to`)...))
	if out != "nobody to give it to\n" {
		t.Errorf("the guest says %q", out)
	}
	wantOwner(t, u.share, hostUID, hostGID, "file", "dir", "link", "pipe", "dir/in")

	g := attack(t, d)
	g.UID, g.GID = stranger, stranger
	_, _, errno := g.Create(vfs.Root, "of a stranger", uint32(os.O_RDWR), 0o100644, 0)
	wantErrno(t, "CREATE by a user that does not exist", errno, syscall.EPERM, syscall.EINVAL)
	g.hangUp()
	d.stop(syscall.SIGTERM)
}

// TestRootlessWithSubordinateIDs is the same for a user who has ranges of ids:
// everybody in the guest has one of them.
func TestRootlessWithSubordinateIDs(t *testing.T) {
	t.Parallel()
	const uid1000, gid1000 = subUID + 1000 - 1, subGID + 1000 - 1
	u := newOrdinary(t).withSubordinates(t)
	for _, tt := range []struct {
		name string
		args []string
		all  bool // run the guest's tests too
	}{
		{"by default", nil, true},
		{"named", []string{
			"--uid-map", fmt.Sprintf(":0:%d:1:", hostUID), "--uid-map", fmt.Sprintf(":1:%d:%d:", subUID, subCount),
			"--gid-map", fmt.Sprintf(":0:%d:1:", hostGID), "--gid-map", fmt.Sprintf(":1:%d:%d:", subGID, subCount),
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := u.serve(t, u.share, tt.args...)
			checkOrdinary(t, d)
			if tt.all {
				skip := oneOf(slices.Concat(needDevices, needFSETID, needAllIDs, notHere))
				if n := guestTests(t, d, "-test.skip", skip); n < len(aloneTests) {
					t.Errorf("only %d tests ran", n)
				}
				out := run(t, guest(lab.UML, d, sh(makeFilesAsRoot+`
					stat -c '%u:%g' file
					cp file given; chown 1000:1000 given; stat -c '%u:%g' given
					cp file last; chown `+fmt.Sprint(subCount)+` last; stat -c '%u:%g' last
					chown `+fmt.Sprint(subCount+1)+` last 2>/dev/null || echo out of range
					chown 0:0 given dir; cp file back; chown 1000 back; chown 0 back; chmod 4755 back`)...))
				if want := fmt.Sprintf("0:0\n1000:1000\n%d:0\nout of range\n", subCount); out != want {
					t.Errorf("the guest says %q, want %q", out, want)
				}
				wantOwner(t, u.share, hostUID, hostGID, "file", "dir", "link", "pipe", "dir/in", "given", "back")
				wantOwner(t, u.share, subUID+subCount-1, hostGID, "last")
			}
			g := attack(t, d)
			name := tt.name + " of a stranger"
			open, errno := g.Mkdir(vfs.Root, "open "+tt.name, 0o777, 0)
			if errno != 0 {
				t.Fatalf("MKDIR: %v", errno)
			}
			g.UID, g.GID = stranger, stranger
			if _, _, errno := g.Create(open.Node, name, uint32(os.O_RDWR), 0o100644, 0); errno != 0 {
				t.Errorf("CREATE: %v", errno)
			}
			wantOwner(t, filepath.Join(u.share, "open "+tt.name), uid1000, gid1000, name)
			_, _, errno = g.Create(vfs.Root, name, uint32(os.O_RDWR), 0o100644, 0)
			wantErrno(t, "CREATE by a stranger in root's directory", errno, syscall.EACCES)
			g.hangUp()
			d.stop(syscall.SIGTERM)
		})
	}
}

// TestRootlessGuestToo has the user start the guest as well.
func TestRootlessGuestToo(t *testing.T) {
	t.Parallel()
	u := newOrdinary(t)
	d := u.run(t, "try", u.share, "--", "sh", "-euc", "cd "+mountedAt+makeFilesAsRoot)
	if status := d.wait(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	wantOwner(t, u.share, hostUID, hostGID, "file", "dir", "link", "pipe", "dir/in")
}

const makeFilesAsRoot = `
	cd ` + mountedAt + `
	echo something >file
	mkdir dir; echo something >dir/in
	ln -s file link
	mkfifo pipe
`

// oneOf is a pattern for tests with one of these names.
func oneOf(names []string) string { return "^(" + strings.Join(names, "|") + ")$" }

// guestTests runs tests of internal/guesttest in a guest and returns how many
// there were.
func guestTests(t *testing.T, d *daemon, which ...string) int {
	t.Helper()
	cfg := guest(lab.UML, d, append([]string{carried, "-test.v", "-test.short", "-test.timeout=4m"}, which...)...)
	cfg.Env = []string{"ISTHMUS_TEST_DIR=" + mountedAt, "ISTHMUS_TEST_FEATURES=nobtime,zerorange,notrusted"}
	cfg.Files = []lab.File{{Path: carried, Source: guestTest, Mode: 0o755}}
	return strings.Count(run(t, cfg), "\n--- PASS")
}

// checkOrdinary checks that both processes of a daemon are the user's, that
// the outer one has no rights, and the inner one only over its own namespace.
func checkOrdinary(t *testing.T, d *daemon) {
	t.Helper()
	outer, inner := d.outer(), d.inner()
	if outer == inner {
		t.Fatal("the daemon has no inner process")
	}
	uid := strings.Repeat(fmt.Sprintf("\t%d", hostUID), 4)
	for _, task := range append(tasks(t, outer), tasks(t, inner)...) {
		if got := statusField(t, task, "Uid"); got != strings.TrimSpace(uid) {
			t.Errorf("%s runs as %q", task, got)
		}
		if got := statusField(t, task, "Groups"); got != "" {
			t.Errorf("%s has the groups %q", task, got)
		}
	}
	for _, task := range tasks(t, outer) {
		for _, set := range []string{"CapEff", "CapPrm", "CapInh", "CapAmb"} {
			if caps := statusField(t, task, set); caps != zeroCaps {
				t.Errorf("%s: %s is %s", task, set, caps)
			}
		}
	}
	ours, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/user", inner))
	if err != nil || ours == theirs {
		t.Errorf("the inner process has the host's user namespace (%v)", err)
	}
}

func wantOwner(t *testing.T, dir string, uid, gid uint32, names ...string) {
	t.Helper()
	for _, name := range names {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, name), &st); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if st.Uid != uid || st.Gid != gid {
			t.Errorf("%s belongs to %d:%d on the host, want %d:%d", name, st.Uid, st.Gid, uid, gid)
		}
	}
}
