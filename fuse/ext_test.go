package fuse_test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isthmus-fs/isthmus/fuse"
	"github.com/isthmus-fs/isthmus/fuse/fusetest"
	"github.com/isthmus-fs/isthmus/vfs"
)

const (
	flagSecurityCtx = 1 << 32
	flagSuppGroup   = 1 << 34
)

func security(pairs ...string) (list []vfs.SecurityContext) {
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, vfs.SecurityContext{Name: []byte(pairs[i] + "\x00"), Value: []byte(pairs[i+1])})
	}
	return list
}

func TestExtensions(t *testing.T) {
	a := fusetest.Append(nil)
	both := append(fusetest.GroupsExt(7), fusetest.SecurityExt("security.selinux", "label")...)
	many := make([]uint32, 33)
	pairs := make([]string, 2*31)
	for i := range pairs {
		pairs[i] = strings.Repeat("n", i/2+1)
	}
	for _, tc := range []struct {
		name     string
		ext      []byte
		want     syscall.Errno
		groups   []uint32
		security []vfs.SecurityContext
	}{
		{"none", nil, 0, nil, nil},
		{"group", fusetest.GroupsExt(7), 0, []uint32{7}, nil},
		{"no group", fusetest.GroupsExt(), 0, nil, nil},
		{"two groups", fusetest.GroupsExt(7, 8), 0, []uint32{7, 8}, nil},
		{"32 groups", fusetest.GroupsExt(many[:32]...), 0, many[:32], nil},
		{"33 groups", fusetest.GroupsExt(many...), syscall.EINVAL, nil, nil},
		{"context", fusetest.SecurityExt("security.selinux", "label"), 0, nil, security("security.selinux", "label")},
		{"empty context", fusetest.SecurityExt("security.selinux", ""), 0, nil, security("security.selinux", "")},
		{"no context", fusetest.SecurityExt(), 0, nil, nil},
		{"31 contexts", fusetest.SecurityExt(pairs...), 0, nil, security(pairs...)},
		{"both", both, 0, []uint32{7}, security("security.selinux", "label")},
		{"groups twice", append(fusetest.GroupsExt(7), fusetest.GroupsExt(7)...), syscall.EINVAL, nil, nil},
		{"contexts twice", append(fusetest.SecurityExt(), fusetest.SecurityExt()...), syscall.EINVAL, nil, nil},
		{"unknown type", a.U32(8).U32(33), syscall.EINVAL, nil, nil},
		{"huge type", a.U32(8).U32(^uint32(0)), syscall.EINVAL, nil, nil},
		{"size 0", a.U32(0).U32(32), syscall.EINVAL, nil, nil},
		{"size 4", a.U32(4).U32(32), syscall.EINVAL, nil, nil},
		{"size beyond", a.U32(24).U32(32).U32(1).U32(7), syscall.EINVAL, nil, nil},
		{"size huge", a.U32(0xfffffff8).U32(32).U32(1).U32(7), syscall.EINVAL, nil, nil},
		{"size odd", a.U32(15).U32(32).U32(1).U32(7), syscall.EINVAL, nil, nil},
		{"groups without count", a.U32(8).U32(32), syscall.EINVAL, nil, nil},
		{"groups beyond", a.U32(16).U32(32).U32(2).U32(7), syscall.EINVAL, nil, nil},
		{"groups overflow", a.U32(16).U32(32).U32(0x40000001).U32(7), syscall.EINVAL, nil, nil},
		{"groups with more", a.U32(24).U32(32).U32(1).U32(7).U64(0), syscall.EINVAL, nil, nil},
		{"context missing", a.U32(8).U32(1), syscall.EINVAL, nil, nil},
		{"context without name", a.U32(16).U32(1).U32(0).U32(0), syscall.EINVAL, nil, nil},
		{"context empty name", a.U32(24).U32(1).U32(0).U32(0).U64(0), syscall.EINVAL, nil, nil},
		{"context no NUL", a.U32(24).U32(1).U32(0).U32(0).Bytes([]byte("12345678")), syscall.EINVAL, nil, nil},
		{"context value beyond", a.U32(24).U32(1).U32(7).U32(0).Str("n").Pad8(), syscall.EINVAL, nil, nil},
		{"context value huge", a.U32(24).U32(1).U32(^uint32(0)).U32(0).Str("n").Pad8(), syscall.EINVAL, nil, nil},
		{"context with more", a.U32(32).U32(1).U32(6).U32(0).Str("n").Pad8().U64(0), syscall.EINVAL, nil, nil},
		{"contexts fewer", a.U32(24).U32(2).U32(6).U32(0).Str("n").Pad8(), syscall.EINVAL, nil, nil},
	} {
		for _, create := range []struct {
			op   fuse.Opcode
			args fusetest.Append
		}{
			{fuse.MKDIR, a.U32(0o777).U32(0o22).Str("d")},
			{fuse.MKNOD, a.U32(0o777).U32(0).U32(0o22).U32(0).Str("d")},
			{fuse.SYMLINK, a.Str("name").Str("target")},
			{fuse.CREATE, a.U32(0).U32(0o777).U32(0o22).U32(0).Str("d")},
			{fuse.TMPFILE, a.U32(0).U32(0o777).U32(0o22).U32(0).Str("/")},
		} {
			t.Run(tc.name+"/"+create.op.String(), func(t *testing.T) {
				raw, fs := rawRecord(t)
				request := fusetest.Request(fusetest.Header{Op: create.op, Unique: 2, Node: 1}, create.args, tc.ext)
				errno, ok := checkReply(t, raw.serve(request, 16+144), 2)
				if !ok || errno != tc.want {
					t.Fatalf("%v, want %v", errno, tc.want)
				}
				if errno != 0 {
					if calls := fs.take(); len(calls) != 0 {
						t.Errorf("file system was asked %q", calls)
					}
					return
				}
				if diff := cmp.Diff(tc.groups, fs.last.Groups); diff != "" {
					t.Errorf("groups (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tc.security, fs.last.Security); diff != "" {
					t.Errorf("security (-want +got):\n%s", diff)
				}
				umask := uint32(0o22)
				if create.op == fuse.SYMLINK {
					umask = 0
				}
				if fs.last.Umask != umask {
					t.Errorf("umask %#o, want %#o", fs.last.Umask, umask)
				}
			})
		}
	}
}

// TestExtensionsForgotten checks that a request does not inherit what the one
// before it carried.
func TestExtensionsForgotten(t *testing.T) {
	fs := &recordFS{}
	_, c := start(t, fs, fuse.Options{})
	c.Ext = append(fusetest.GroupsExt(7), fusetest.SecurityExt("security.selinux", "label")...)
	if _, errno := c.Mkdir(1, "a", 0, 0o77); errno != 0 {
		t.Fatal(errno)
	}
	c.Ext = nil
	if _, errno := c.Symlink(1, "a", "b"); errno != 0 {
		t.Fatal(errno)
	}
	if fs.last.Groups != nil || fs.last.Security != nil || fs.last.Umask != 0 {
		t.Errorf("request %+v", fs.last)
	}
}

// TestExtensionsNotAgreed refuses what INIT did not agree on.
func TestExtensionsNotAgreed(t *testing.T) {
	for _, tc := range []struct {
		name  string
		flags uint64
		minor uint32
		ext   []byte
		bare  []byte // behind the name, with no length in the header
		want  syscall.Errno
	}{
		{"group", flagSecurityCtx, 45, fusetest.GroupsExt(7), nil, syscall.EINVAL},
		{"context", flagSuppGroup, 45, fusetest.SecurityExt("n", "v"), nil, syscall.EINVAL},
		{"bare context", flagSecurityCtx, 45, nil, fusetest.SecurityExt("n", "v"), syscall.EINVAL},
		{"7.37 bare context", flagSecurityCtx, 37, nil, fusetest.SecurityExt("n", "v"), 0},
		{"7.37 bare context, not agreed", 0, 37, nil, fusetest.SecurityExt("n", "v"), syscall.EINVAL},
		{"7.37 twice", flagSecurityCtx, 37, fusetest.SecurityExt("n", "v"), fusetest.SecurityExt("n", "v"), syscall.EINVAL},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fs := &recordFS{}
			s := fuse.NewServer(fs, fuse.Options{})
			c := fusetest.NewClient(fusetest.NewDirect(s))
			if _, errno := c.Init(fusetest.InitIn{Major: 7, Minor: tc.minor, Flags: fusetest.InitExt | tc.flags}); errno != 0 {
				t.Fatal(errno)
			}
			args := fusetest.Append(nil).Zero(8).Str("d").Bytes(tc.bare)
			request := fusetest.Request(fusetest.Header{Op: fuse.MKDIR, Unique: 2, Node: 1}, args, tc.ext)
			errno, ok := checkReply(t, newRaw(s).serve(request, 16+128), 2)
			if !ok || errno != tc.want {
				t.Fatalf("%v, want %v", errno, tc.want)
			}
			if errno == 0 {
				if diff := cmp.Diff(security("n", "v"), fs.last.Security); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}
