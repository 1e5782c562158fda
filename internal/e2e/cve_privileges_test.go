package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/fuse/fusetest"
	"github.com/isthmus-fs/isthmus/vfs"
)

// Ids in the guest of whom a test says nothing else.
const (
	stranger = 1000 // a user, and the group of the same number
	team     = 5000 // a group of the host's
	staff    = 6000 // another
)

// TestCVE_2021_20263: virtiofsd kept file capabilities under another name, where
// the host's kernel does not drop them when the file is changed.
// Ours must drop the mapped attribute itself, on whatever changes the file.
func TestCVE_2021_20263(t *testing.T) {
	const hostName = "user.virtiofs.security.capability"
	// struct vfs_cap_data, revision 2: CAP_SETUID, effective.
	capability := []byte{1, 0, 0, 2, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	share := t.TempDir()
	if err := os.WriteFile(filepath.Join(share, "source"), make([]byte, 8192), 0o666); err != nil {
		t.Fatal(err)
	}
	// Without killpriv the guest is to drop it; but a hostile one does not.
	for _, form := range []struct {
		name string
		args []string
	}{
		{"default", nil},
		{"writeback", []string{"--writeback"}},
		{"no killpriv", []string{"--killpriv=false"}},
	} {
		t.Run(form.name, func(t *testing.T) {
			d := serve(t, share, append(form.args, "--xattrmap", ":map:security.capability:user.virtiofs.:")...)
			inner := d.inner()
			g := attack(t, d)
			source := g.lookup(vfs.Root, "source")
			from, errno := g.Open(source.Node, uint32(os.O_RDONLY), false)
			if errno != 0 {
				t.Fatal(errno)
			}
			for _, tt := range []struct {
				name string
				open bool // do gets an open handle
				do   func(n vfs.NodeID, h vfs.Handle) syscall.Errno
				kept bool // the attribute has to be there still
			}{
				{"write", true, func(n vfs.NodeID, h vfs.Handle) syscall.Errno { return errnoOf(g.Write(n, h, []byte("x"), 0, 2, 0)) }, false},
				{"write once more", true, func(n vfs.NodeID, h vfs.Handle) syscall.Errno {
					g.Write(n, h, []byte("x"), 0, 2, 0)
					if errno := g.Setxattr(n, "security.capability", capability, 0, false); errno != 0 {
						return errno
					}
					return errnoOf(g.Write(n, h, []byte("x"), 0, 2, 0))
				}, false},
				{"append", true, func(n vfs.NodeID, h vfs.Handle) syscall.Errno {
					return errnoOf(g.Write(n, h, []byte("x"), 0, 2|unix.O_APPEND, 0))
				}, false},
				{"write of the cache", true, func(n vfs.NodeID, h vfs.Handle) syscall.Errno {
					const writeCache = 1 // FUSE_WRITE_CACHE
					return errnoOf(g.Write(n, h, []byte("x"), 0, 2, writeCache))
				}, false},
				{"truncate", false, func(n vfs.NodeID, _ vfs.Handle) syscall.Errno {
					return errnoOf(g.Setattr(n, vfs.NoHandle, vfs.SetAttr{Valid: vfs.SetSize, Size: 3}))
				}, false},
				{"ftruncate", true, func(n vfs.NodeID, h vfs.Handle) syscall.Errno {
					return errnoOf(g.Setattr(n, h, vfs.SetAttr{Valid: vfs.SetSize, Size: 3}))
				}, false},
				{"open with O_TRUNC", false, func(n vfs.NodeID, _ vfs.Handle) syscall.Errno {
					return errnoOf(g.Open(n, uint32(os.O_WRONLY|unix.O_TRUNC), false))
				}, false},
				{"create with O_TRUNC", false, func(vfs.NodeID, vfs.Handle) syscall.Errno {
					_, _, errno := g.Create(vfs.Root, "target", uint32(os.O_WRONLY|unix.O_TRUNC), 0o100666, 0)
					return errno
				}, false},
				{"chown", false, func(n vfs.NodeID, _ vfs.Handle) syscall.Errno {
					return errnoOf(g.Setattr(n, vfs.NoHandle, vfs.SetAttr{Valid: vfs.SetUID, UID: stranger}))
				}, false},
				{"chgrp", true, func(n vfs.NodeID, h vfs.Handle) syscall.Errno {
					return errnoOf(g.Setattr(n, h, vfs.SetAttr{Valid: vfs.SetGID, GID: stranger}))
				}, false},
				{"fallocate", true, func(n vfs.NodeID, h vfs.Handle) syscall.Errno { return g.Fallocate(n, h, 0, 8192, 0) }, false},
				{"punch", true, func(n vfs.NodeID, h vfs.Handle) syscall.Errno {
					return g.Fallocate(n, h, 0, 4096, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE)
				}, false},
				{"copy_file_range", true, func(n vfs.NodeID, h vfs.Handle) syscall.Errno {
					return errnoOf(g.CopyFileRange(vfs.CopyRange{SrcNode: source.Node, SrcHandle: from.Handle, DstNode: n, DstHandle: h, Len: 8192}))
				}, false},
				{"copy_file_range of 64 bits", true, func(n vfs.NodeID, h vfs.Handle) syscall.Errno {
					return errnoOf(g.CopyFileRange64(vfs.CopyRange{SrcNode: source.Node, SrcHandle: from.Handle, DstNode: n, DstHandle: h, Len: 8192}))
				}, false},
				{"nothing", false, func(vfs.NodeID, vfs.Handle) syscall.Errno { return 0 }, true},
				{"read", true, func(n vfs.NodeID, h vfs.Handle) syscall.Errno {
					return errnoOf(g.Read(n, h, make([]byte, 10), 0, 0))
				}, true},
				{"utimes", false, func(n vfs.NodeID, _ vfs.Handle) syscall.Errno {
					return errnoOf(g.Setattr(n, vfs.NoHandle, vfs.SetAttr{Valid: vfs.SetMtimeNow}))
				}, true},
			} {
				t.Run(tt.name, func(t *testing.T) {
					path := filepath.Join(share, "target")
					if err := os.WriteFile(path, []byte("something"), 0o666); err != nil {
						t.Fatal(err)
					}
					if err := os.Chmod(path, 0o666); err != nil { // whatever the umask
						t.Fatal(err)
					}
					e := g.lookup(vfs.Root, "target")
					g.UID, g.GID = 0, 0
					if errno := g.Setxattr(e.Node, "security.capability", capability, 0, false); errno != 0 {
						t.Fatalf("SETXATTR: %v", errno)
					}
					// The guest sees it by its own name, the host by the other.
					if got := hostXattr(t, path, hostName); got != string(capability) {
						t.Fatalf("on the host the attribute is %x", got)
					}
					if n, errno := g.Getxattr(e.Node, "security.capability", make([]byte, 100)); errno != 0 || n != len(capability) {
						t.Fatalf("GETXATTR: %d bytes, %v", n, errno)
					}
					g.UID, g.GID = stranger, stranger
					h := vfs.NoHandle
					if tt.open {
						o, errno := g.Open(e.Node, uint32(os.O_RDWR), false)
						if errno != 0 {
							t.Fatal(errno)
						}
						h = o.Handle
						defer g.Release(e.Node, h, vfs.ReleaseIn{})
						if got := hostXattr(t, path, hostName); got == "" {
							t.Fatal("an open alone dropped the attribute")
						}
					}
					if errno := tt.do(e.Node, h); errno != 0 {
						t.Fatalf("the change failed: %v", errno)
					}
					if left := hostXattr(t, path, hostName); (left != "") != tt.kept {
						t.Errorf("the mapped attribute is %x afterwards; kept: want %v", left, tt.kept)
					}
				})
			}
			g.hangUp()
			d.survives(inner)
		})
	}
}

// hostXattr returns an attribute, or "" if there is none.
func hostXattr(t *testing.T, path, name string) string {
	t.Helper()
	buf := make([]byte, 1000)
	n, err := unix.Lgetxattr(path, name, buf)
	if errors.Is(err, unix.ENODATA) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// TestCVE_2022_0358: virtiofsd created files with root's groups in force, and so
// gave a user who is not in a directory's group setgid executables of that group.
// Ours must create with the caller's groups alone, none of the daemon's own.
func TestCVE_2022_0358(t *testing.T) {
	share := t.TempDir()
	for name, p := range map[string]struct {
		mode os.FileMode
		gid  int
	}{
		"sgid":    {os.ModeSetgid | 0o777, team},
		"members": {0o770, staff},
	} {
		path := filepath.Join(share, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, 0, p.gid); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, p.mode); err != nil {
			t.Fatal(err)
		}
	}
	const createSuppGroup = 1 << 34 // FUSE_CREATE_SUPP_GROUP
	with, without := fusetest.Linux(), fusetest.Linux()
	without.Flags &^= createSuppGroup
	for _, tt := range []struct {
		name   string
		init   fusetest.InitIn
		groups []uint32 // that the guest names; nil: it names none
		// What is left of mode 02755 where the group is team.
		mode uint32
		// What comes of creating in a directory for members of staff.
		closed syscall.Errno
	}{
		{"no groups", with, []uint32{}, 0o755, syscall.EACCES},
		{"no extension", with, nil, 0o755, syscall.EACCES},
		{"another group", with, []uint32{7000}, 0o755, syscall.EACCES},
		{"member of team", with, []uint32{team}, 0o2755, syscall.EACCES},
		{"member of staff", with, []uint32{staff}, 0o755, 0},
		// An old guest checks permissions itself and says nothing of groups.
		{"old guest", without, nil, 0o755, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// The daemon's user is in both groups.
			d := launch{credential: &syscall.Credential{Groups: []uint32{team, staff}}}.serve(t, share)
			inner := d.inner()
			g := attackAs(t, d, tt.init)
			sgid, members := g.lookup(vfs.Root, "sgid"), g.lookup(vfs.Root, "members")
			g.UID, g.GID = stranger, stranger
			if tt.groups != nil {
				g.Ext = fusetest.GroupsExt(tt.groups...)
			}
			name := func(what string) string { return tt.name + ", " + what }
			makers := map[string]func(dir vfs.NodeID) (vfs.Entry, syscall.Errno){
				"CREATE": func(dir vfs.NodeID) (vfs.Entry, syscall.Errno) {
					e, _, errno := g.Create(dir, name("created"), uint32(os.O_RDWR), 0o102755, 0)
					return e, errno
				},
				"MKNOD": func(dir vfs.NodeID) (vfs.Entry, syscall.Errno) {
					return g.Mknod(dir, name("made"), unix.S_IFREG|0o2755, 0, 0)
				},
				"TMPFILE": func(dir vfs.NodeID) (vfs.Entry, syscall.Errno) {
					e, _, errno := g.Tmpfile(dir, uint32(os.O_RDWR), 0o102755, 0)
					return e, errno
				},
			}
			for op, do := range makers {
				e, errno := do(sgid.Node)
				if errno != 0 {
					t.Fatalf("%s: %v", op, errno)
				}
				if e.Attr.UID != stranger || e.Attr.GID != team || e.Attr.Mode&0o7777 != tt.mode {
					t.Errorf("%s in a setgid directory: mode %#o of %d:%d, want %#o of %d:%d",
						op, e.Attr.Mode&0o7777, e.Attr.UID, e.Attr.GID, tt.mode, stranger, team)
				}
				_, errno = do(members.Node)
				wantErrno(t, op+" in a directory of others", errno, tt.closed)
			}
			// A directory inherits setgid; what is made in it is the group's.
			dir, errno := g.Mkdir(sgid.Node, name("dir"), 0o755, 0)
			if errno != 0 || dir.Attr.Mode&0o7777 != 0o2755 || dir.Attr.GID != team || dir.Attr.UID != stranger {
				t.Errorf("MKDIR in a setgid directory: mode %#o of %d:%d, %v", dir.Attr.Mode, dir.Attr.UID, dir.Attr.GID, errno)
			}
			_, errno = g.Symlink(members.Node, name("link"), "target")
			wantErrno(t, "SYMLINK in a directory of others", errno, tt.closed)
			_, errno = g.Mkdir(members.Node, name("dir"), 0o755, 0)
			wantErrno(t, "MKDIR in a directory of others", errno, tt.closed)
			g.hangUp()
			d.survives(inner)
		})
	}
}
