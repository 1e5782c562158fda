package guesttest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	accessACL  = "system.posix_acl_access"
	defaultACL = "system.posix_acl_default"
)

// Tags of entries, as in linux/posix_acl.h.
const (
	aclOwner      = 0x01
	aclUser       = 0x02
	aclOwnerGroup = 0x04
	aclGroup      = 0x08
	aclMask       = 0x10
	aclOther      = 0x20
)

// aclEntry is an entry of an access control list. The id counts for aclUser and
// aclGroup only.
type aclEntry struct {
	tag, perm uint16
	id        uint32
}

type acl []aclEntry

// value is the list as the kernel keeps it in an attribute (struct
// posix_acl_xattr_header and _entry of linux/posix_acl_xattr.h, version 2).
func (a acl) value() []byte {
	b := []byte{2, 0, 0, 0}
	for _, e := range a {
		id := e.id
		if e.tag != aclUser && e.tag != aclGroup {
			id = 1<<32 - 1 // ACL_UNDEFINED_ID
		}
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, id)
	}
	return b
}

// with returns the list with other rights in the entries of a tag.
func (a acl) with(tag, perm uint16) acl {
	b := slices.Clone(a)
	for i := range b {
		if b[i].tag == tag {
			b[i].perm = perm
		}
	}
	return b
}

// teamACL names a user and a group besides the owner's.
var teamACL = acl{
	{aclOwner, 7, 0}, {aclUser, 6, bob.uid}, {aclOwnerGroup, 5, 0},
	{aclGroup, 4, staff}, {aclMask, 7, 0}, {aclOther, 0, 0},
}

// sameACL compares an attribute with a list byte for byte; nil is for no
// attribute at all.
func sameACL(t *testing.T, path, name string, wanted acl, what string, args ...any) {
	t.Helper()
	got, err := getXattr(path, name)
	if wanted == nil {
		want(t, err, unix.ENODATA, "%s: %s", fmt.Sprintf(what, args...), name)
	} else if err != nil || !bytes.Equal(got, wanted.value()) {
		t.Errorf("%s: %s is %x, %v; want %x", fmt.Sprintf(what, args...), name, got, err, wanted.value())
	}
}

func sameMode(t *testing.T, path string, wanted uint32, what string, args ...any) {
	t.Helper()
	if got := lstat(t, path).Mode & 0o7777; got != wanted {
		t.Errorf("%s: mode %#o, want %#o", fmt.Sprintf(what, args...), got, wanted)
	}
}

// aclsOr reports whether there are access control lists. Where there are none it
// checks that every call says so, to root and to the file's owner.
func aclsOr(t *testing.T, dir string) bool {
	t.Helper()
	if expected[featACL] {
		return true
	}
	for _, who := range rootAndOwner {
		path := mkdir(t, fmt.Sprintf("%s/%d", dir, who.uid))
		check(t, unix.Chown(path, int(who.uid), int(who.gid)), "chown")
		as(t, who, func() {
			for _, name := range []string{accessACL, defaultACL} {
				// Without any attributes, guests from Linux 6.2 on say of
				// themselves that there is no list.
				if !expected[featNoXattr] {
					_, err := getXattr(path, name)
					want(t, err, unix.EOPNOTSUPP, "getxattr %s as %d", name, who.uid)
				}
				want(t, unix.Lsetxattr(path, name, teamACL.value(), 0), unix.EOPNOTSUPP, "setxattr %s as %d", name, who.uid)
				want(t, unix.Lremovexattr(path, name), unix.EOPNOTSUPP, "removexattr %s as %d", name, who.uid)
			}
		})
		sameMode(t, path, 0o755, "after refused lists")
	}
	t.Log("no acl: only the refusal APPLIES, and was checked")
	return false
}

// rootAndOwner are the callers that may do anything with a file: one because he
// is root, one because it is his.
var rootAndOwner = []user{{}, alice}

func TestACLsReadBackByteForByte(t *testing.T) {
	dir := scratch(t)
	if !aclsOr(t, dir) {
		return
	}
	for _, who := range rootAndOwner {
		base := fmt.Sprintf("%s/%d-", dir, who.uid)
		file, sub := base+"file", base+"dir"
		write(t, file, nil)
		mkdir(t, sub)
		for _, path := range []string{file, sub} {
			check(t, unix.Chown(path, int(alice.uid), int(alice.gid)), "chown")
		}
		as(t, who, func() {
			for _, path := range []string{file, sub} {
				want(t, unix.Lsetxattr(path, accessACL, teamACL.value(), 0), nil, "set as %d", who.uid)
			}
			want(t, unix.Lsetxattr(sub, defaultACL, teamACL.value(), 0), nil, "set a default as %d", who.uid)
			want(t, unix.Lsetxattr(file, defaultACL, teamACL.value(), 0), unix.EACCES, "set a default for a file as %d", who.uid)
			for _, c := range []struct {
				what  string
				value []byte
				err   error
			}{
				{"without a mask", teamACL[:4].value(), unix.EINVAL},
				{"without entries for others", teamACL[:5].value(), unix.EINVAL},
				{"out of order", acl{teamACL[5], teamACL[0], teamACL[2]}.value(), unix.EINVAL},
				{"with unknown rights", teamACL.with(aclOther, 8).value(), unix.EINVAL},
				{"cut short", teamACL.value()[:27], unix.EINVAL},
				{"of another version", append([]byte{3}, teamACL.value()[1:]...), unix.EOPNOTSUPP},
			} {
				want(t, unix.Lsetxattr(file, accessACL, c.value, 0), c.err, "set a list %s as %d", c.what, who.uid)
			}
		})
		as(t, carol, func() {
			want(t, unix.Lsetxattr(file, accessACL, teamACL.value(), 0), unix.EPERM, "set by a stranger")
			want(t, unix.Lremovexattr(file, accessACL), unix.EPERM, "remove by a stranger")
		})
		sameACL(t, file, accessACL, teamACL, "file")
		sameACL(t, sub, accessACL, teamACL, "directory")
		sameACL(t, sub, defaultACL, teamACL, "directory")
		// What a mode shows as the group's rights is the mask.
		sameMode(t, file, 0o770, "file")
		if got := listXattr(t, sub); !slices.Equal(got, []string{accessACL, defaultACL}) {
			t.Errorf("attributes %q", got)
		}

		short := acl{{aclOwner, 6, 0}, {aclOwnerGroup, 4, 0}, {aclOther, 1, 0}}
		as(t, who, func() {
			want(t, unix.Lremovexattr(sub, accessACL), nil, "remove as %d", who.uid)
			want(t, unix.Lremovexattr(sub, defaultACL), nil, "remove a default as %d", who.uid)
			want(t, unix.Lsetxattr(file, accessACL, short.value(), 0), nil, "set what a mode can say as %d", who.uid)
		})
		sameACL(t, sub, accessACL, nil, "removed")
		sameACL(t, sub, defaultACL, nil, "removed")
		sameACL(t, file, accessACL, nil, "a list that says what the mode does")
		sameMode(t, file, 0o641, "a list that says what the mode does")
	}
}

// underUmask runs f as u with a umask that is that thread's own.
func underUmask(t *testing.T, u user, mask int, f func()) {
	t.Helper()
	onThread(func() {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			t.Errorf("unshare: %v", err)
			return
		}
		unix.Umask(mask)
		if err := becomeThread(u); err != nil {
			t.Errorf("become user %d: %v", u.uid, err)
			return
		}
		f()
	})
}

// TestDefaultACLsAreInherited makes all that can be made below a directory with a
// default list, which takes the place of the umask, and below one without.
func TestDefaultACLsAreInherited(t *testing.T) {
	dir := scratch(t)
	if !aclsOr(t, dir) {
		return
	}
	for _, who := range rootAndOwner {
		for _, mask := range []int{0, 0o027, 0o077} {
			listed := mkdir(t, fmt.Sprintf("%s/%d-%o-listed", dir, who.uid, mask))
			plain := mkdir(t, fmt.Sprintf("%s/%d-%o-plain", dir, who.uid, mask))
			check(t, unix.Lsetxattr(listed, defaultACL, teamACL.value(), 0), "set a default")
			for _, base := range []string{listed, plain} {
				check(t, unix.Chmod(base, 0o777), "chmod")
				underUmask(t, who, mask, func() {
					want(t, tryOpen(base+"/file", unix.O_RDWR|unix.O_CREAT, 0o666), nil, "create")
					want(t, tryOpen(base+"/private", unix.O_RDWR|unix.O_CREAT, 0o600), nil, "create")
					want(t, unix.Mkdir(base+"/dir", 0o777), nil, "mkdir")
					want(t, unix.Mkdir(base+"/dir/below", 0o755), nil, "mkdir below")
					want(t, unix.Mkfifo(base+"/fifo", 0o622), nil, "mkfifo")
					want(t, unix.Mknod(base+"/node", unix.S_IFREG|0o640, 0), nil, "mknod")
					want(t, unix.Symlink("x", base+"/link"), nil, "symlink")
				})
			}
			for _, c := range []struct {
				name string
				mode uint32
				down bool // of the directory that inherits the list
			}{
				{"/file", 0o666, false}, {"/private", 0o600, false}, {"/dir", 0o777, true},
				{"/dir/below", 0o755, true}, {"/fifo", 0o622, false}, {"/node", 0o640, false},
			} {
				what := fmt.Sprintf("%s by %d under umask %03o", c.name, who.uid, mask)
				bits := func(shift int) uint16 { return uint16(c.mode >> shift & 7) }
				inherited := teamACL.with(aclOwner, 7&bits(6)).with(aclMask, 7&bits(3)).with(aclOther, 0)
				sameACL(t, listed+c.name, accessACL, inherited, "%s", what)
				sameMode(t, listed+c.name, c.mode&0o770, "%s", what)
				sameMode(t, plain+c.name, c.mode&^uint32(mask), "%s", what)
				sameACL(t, plain+c.name, accessACL, nil, "%s", what)
				if c.down {
					sameACL(t, listed+c.name, defaultACL, teamACL, "%s", what)
				}
			}
			for _, base := range []string{listed, plain} {
				if st := lstat(t, base+"/dir/below"); st.Uid != who.uid || st.Gid != who.gid {
					t.Errorf("below belongs to %d:%d, want %d:%d", st.Uid, st.Gid, who.uid, who.gid)
				}
				sameMode(t, base+"/link", 0o777, "a symbolic link")
			}
		}
	}
}

func TestChmodChangesTheMaskOfAnACL(t *testing.T) {
	dir := scratch(t)
	if !aclsOr(t, dir) {
		return
	}
	for _, who := range rootAndOwner {
		path := fmt.Sprintf("%s/%d", dir, who.uid)
		write(t, path, nil)
		check(t, unix.Chown(path, int(alice.uid), int(alice.gid)), "chown")
		check(t, unix.Lsetxattr(path, accessACL, teamACL.value(), 0), "set a list")
		for _, mode := range []uint32{0o640, 0o604, 0o777, 0, 0o750} {
			as(t, who, func() { want(t, unix.Chmod(path, mode), nil, "chmod as %d", who.uid) })
			changed := teamACL.with(aclOwner, uint16(mode>>6&7)).with(aclMask, uint16(mode>>3&7)).with(aclOther, uint16(mode&7))
			sameACL(t, path, accessACL, changed, "after chmod %#o", mode)
			sameMode(t, path, mode, "after chmod %#o", mode)
		}
	}
}

func TestACLsDecideWhoMayDoWhat(t *testing.T) {
	dir := scratch(t)
	if !aclsOr(t, dir) {
		return
	}
	tree(t, dir, "file", "dir/", "dir/f")
	check(t, unix.Chmod(dir+"/dir/f", 0o666), "chmod")
	list := acl{
		{aclOwner, 0, 0}, {aclUser, 6, alice.uid}, {aclOwnerGroup, 0, 0}, {aclGroup, 5, staff}, {aclMask, 7, 0}, {aclOther, 1, 0},
	}
	for _, mask := range []uint16{7, 6, 5, 4, 1, 0} {
		for _, path := range []string{dir + "/file", dir + "/dir"} {
			check(t, unix.Lsetxattr(path, accessACL, list.with(aclMask, mask).value(), 0), "set a list")
		}
		for _, c := range []struct {
			who   user
			what  string
			right uint16
		}{
			{alice, "the user of the list", 6 & mask},
			{bob, "a member of the list's group", 5 & mask},
			{carol, "another", 1},
		} {
			if mask == 0 {
				// Linux looks into a list only if the mode shows the
				// group some right; without one, all are others.
				c.right = 1
			}
			as(t, c.who, func() {
				who := fmt.Sprintf("%s under mask %o", c.what, mask)
				r, w, x := c.right&4 != 0, c.right&2 != 0, c.right&1 != 0
				rights(t, tryOpen(dir+"/file", unix.O_RDONLY, 0), r, "%s: open for reading", who)
				rights(t, tryOpen(dir+"/file", unix.O_WRONLY, 0), w, "%s: open for writing", who)
				rights(t, unix.Truncate(dir+"/file", 0), w, "%s: truncate", who)
				rights(t, unix.Faccessat2(unix.AT_FDCWD, dir+"/file", unix.X_OK, unix.AT_EACCESS), x, "%s: access for execution", who)
				rights(t, tryOpen(dir+"/dir", unix.O_RDONLY|unix.O_DIRECTORY, 0), r, "%s: open of the directory", who)
				rights(t, tryOpen(dir+"/dir/f", unix.O_RDWR, 0), x, "%s: open inside", who)
				rights(t, unix.Mkdir(dir+"/dir/new", 0o755), w && x, "%s: mkdir inside", who)
			})
		}
	}
}

func TestSettingAnACLTakesSetgidFromStrangersToTheGroup(t *testing.T) {
	dir := scratch(t)
	if !aclsOr(t, dir) {
		return
	}
	for _, c := range []struct {
		what  string
		owner user
		who   user
		mode  uint32
	}{
		{"a member of the group", bob, bob, unix.S_ISGID | 0o770},
		{"a stranger to the group", alice, alice, 0o770},
		{"root", alice, user{}, unix.S_ISGID | 0o770},
	} {
		for _, kind := range []string{"file", "dir"} {
			path := dir + "/" + kind
			if kind == "dir" {
				mkdir(t, path)
			} else {
				write(t, path, nil)
			}
			check(t, unix.Chown(path, int(c.owner.uid), staff), "chown")
			check(t, unix.Chmod(path, unix.S_ISGID|0o755), "chmod")
			as(t, c.who, func() {
				want(t, unix.Lsetxattr(path, accessACL, teamACL.value(), 0), nil, "set by %s", c.what)
			})
			sameMode(t, path, c.mode, "a %s whose list was set by %s", kind, c.what)
			sameACL(t, path, accessACL, teamACL, "a %s whose list was set by %s", kind, c.what)
			check(t, unix.Rename(path, path+c.what), "rename")
		}
	}
}
