package rules

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/isthmus-fs/isthmus/vfs"
)

// spy answers everything with success and keeps what it was called with.
type spy struct {
	vfs.FileSystem
	calls  []string
	req    vfs.Request
	set    vfs.SetAttr
	names  []string
	nodes  []vfs.NodeID // whose attributes were used
	owner  [2]uint32    // of all attributes
	mode   uint32       // of all attributes; 0 is that of a file
	answer func(call string, r *vfs.Request) syscall.Errno
}

func (s *spy) called(call string, r *vfs.Request) syscall.Errno {
	s.calls = append(s.calls, call)
	s.req = *r
	s.req.Groups = append([]uint32(nil), r.Groups...)
	s.req.Security = nil
	for _, c := range r.Security {
		s.req.Security = append(s.req.Security, vfs.SecurityContext{Name: append([]byte(nil), c.Name...), Value: c.Value})
	}
	if s.answer != nil {
		return s.answer(call, r)
	}
	return 0
}

func (s *spy) attr() vfs.Attr {
	mode := s.mode
	if mode == 0 {
		mode = unix.S_IFREG | 0o644
	}
	return vfs.Attr{Mode: mode, UID: s.owner[0], GID: s.owner[1]}
}

func (s *spy) Init(f vfs.Features) (vfs.Features, syscall.Errno) { return f, 0 }
func (s *spy) Forget(vfs.NodeID, uint64)                         { s.calls = append(s.calls, "Forget") }

func (s *spy) Lookup(r *vfs.Request, _ vfs.NodeID, _ vfs.Name, out *vfs.Entry) syscall.Errno {
	*out = vfs.Entry{Node: 2, Attr: s.attr()}
	return s.called("Lookup", r)
}

func (s *spy) Getattr(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, out *vfs.AttrOut) syscall.Errno {
	out.Attr = s.attr()
	return s.called("Getattr", r)
}

func (s *spy) Setattr(r *vfs.Request, node vfs.NodeID, _ vfs.Handle, in *vfs.SetAttr, out *vfs.AttrOut) syscall.Errno {
	s.nodes = append(s.nodes, node)
	s.set, out.Attr = *in, s.attr()
	return s.called("Setattr", r)
}

func (s *spy) Statx(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, _, _ uint32, out *vfs.Statx) syscall.Errno {
	out.Attr = s.attr()
	return s.called("Statx", r)
}

func (s *spy) Access(r *vfs.Request, _ vfs.NodeID, _ uint32) syscall.Errno {
	return s.called("Access", r)
}

func (s *spy) Symlink(r *vfs.Request, _ vfs.NodeID, _ vfs.Name, _ []byte, out *vfs.Entry) syscall.Errno {
	*out = vfs.Entry{Node: 2, Attr: s.attr()}
	return s.called("Symlink", r)
}

func (s *spy) Mknod(r *vfs.Request, _ vfs.NodeID, _ vfs.Name, _, _ uint32, out *vfs.Entry) syscall.Errno {
	*out = vfs.Entry{Node: 2, Attr: s.attr()}
	return s.called("Mknod", r)
}

func (s *spy) Mkdir(r *vfs.Request, _ vfs.NodeID, _ vfs.Name, _ uint32, out *vfs.Entry) syscall.Errno {
	*out = vfs.Entry{Node: 2, Attr: s.attr()}
	return s.called("Mkdir", r)
}

func (s *spy) Link(r *vfs.Request, _, _ vfs.NodeID, _ vfs.Name, out *vfs.Entry) syscall.Errno {
	*out = vfs.Entry{Node: 2, Attr: s.attr()}
	return s.called("Link", r)
}

func (s *spy) Unlink(r *vfs.Request, _ vfs.NodeID, _ vfs.Name) syscall.Errno {
	return s.called("Unlink", r)
}

func (s *spy) Rmdir(r *vfs.Request, _ vfs.NodeID, _ vfs.Name) syscall.Errno {
	return s.called("Rmdir", r)
}

func (s *spy) Rename(r *vfs.Request, _ vfs.NodeID, _ vfs.Name, _ vfs.NodeID, _ vfs.Name, _ uint32) syscall.Errno {
	return s.called("Rename", r)
}

func (s *spy) Open(r *vfs.Request, _ vfs.NodeID, _ uint32, _ bool, _ *vfs.Opened) syscall.Errno {
	return s.called("Open", r)
}

func (s *spy) Create(r *vfs.Request, _ vfs.NodeID, _ vfs.Name, _, _ uint32, out *vfs.Entry, _ *vfs.Opened) syscall.Errno {
	*out = vfs.Entry{Node: 2, Attr: s.attr()}
	return s.called("Create", r)
}

func (s *spy) Tmpfile(r *vfs.Request, _ vfs.NodeID, _, _ uint32, out *vfs.Entry, _ *vfs.Opened) syscall.Errno {
	*out = vfs.Entry{Node: 2, Attr: s.attr()}
	return s.called("Tmpfile", r)
}

func (s *spy) Write(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, _ []unix.Iovec, _ uint64, _ uint32, _ vfs.WriteFlags) (int, syscall.Errno) {
	return 0, s.called("Write", r)
}

func (s *spy) Release(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, _ *vfs.ReleaseIn) syscall.Errno {
	return s.called("Release", r)
}

func (s *spy) Fallocate(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, _, _ uint64, _ uint32) syscall.Errno {
	return s.called("Fallocate", r)
}

func (s *spy) CopyFileRange(r *vfs.Request, _ *vfs.CopyRange) (uint64, syscall.Errno) {
	return 0, s.called("CopyFileRange", r)
}

func (s *spy) Readdir(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, _ uint64, sink vfs.DirSink) syscall.Errno {
	if sink.Fits(4) {
		e := vfs.Entry{Node: 2, Attr: s.attr()}
		kept := e
		sink.Add([]byte("file"), 2, 1, unix.S_IFREG, &e)
		sink.Add([]byte("."), 1, 2, unix.S_IFDIR, nil)
		if e != kept {
			panic("a listing changed an entry that is not its own")
		}
	}
	return s.called("Readdir", r)
}

func (s *spy) Getxattr(r *vfs.Request, node vfs.NodeID, name, _ []byte) (int, syscall.Errno) {
	s.nodes = append(s.nodes, node)
	s.names = append(s.names, string(name))
	return 0, s.called("Getxattr", r)
}

func (s *spy) Setxattr(r *vfs.Request, _ vfs.NodeID, name, _ []byte, _ uint32, _ bool) syscall.Errno {
	s.names = append(s.names, string(name))
	return s.called("Setxattr", r)
}

func (s *spy) Removexattr(r *vfs.Request, node vfs.NodeID, name []byte) syscall.Errno {
	s.nodes = append(s.nodes, node)
	s.names = append(s.names, string(name))
	return s.called("Removexattr", r)
}

func (s *spy) Ioctl(r *vfs.Request, _ vfs.NodeID, _ vfs.Handle, _ uint32, _ uint64, _, _ []byte) (int, int32, syscall.Errno) {
	return 0, 0, s.called("Ioctl", r)
}

// list is a DirSink that keeps what is added.
type list struct {
	plus    bool
	names   []string
	entries []*vfs.Entry
}

func (l *list) Plus() bool    { return l.plus }
func (l *list) Fits(int) bool { return true }

func (l *list) Add(name []byte, _, _ uint64, _ uint32, e *vfs.Entry) {
	l.names = append(l.names, string(name))
	if e != nil {
		c := *e
		e = &c
	}
	l.entries = append(l.entries, e)
}
