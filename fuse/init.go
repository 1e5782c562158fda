package fuse

import (
	"syscall"

	"github.com/isthmus-fs/isthmus/vfs"
)

// session is what one INIT negotiated. It does not change; the next INIT makes
// another.
type session struct {
	minor    uint32
	features vfs.Features
}

// initSession serves INIT: it ends the session there was, if any, and begins
// one with what both sides can do. A guest of a later major version is told ours
// and asks again; one that is too old gets EPROTO.
func (s *Server) initSession(c *Call) (int, syscall.Errno) {
	in := args[initIn](c)
	flags := uint64(in.flags)
	if flags&initExt != 0 {
		if len(c.body) < sizeof[initExtIn]() {
			return 0, syscall.EINVAL
		}
		flags |= uint64(args[initExtIn](c).flags2) << 32
	}
	if !s.endSession(c.req.Nowait) {
		return 0, vfs.WouldBlock
	}
	defer s.lifeMu.Unlock()

	if in.major > Major {
		s.destroy()
		w := out[initOut](c)
		w.major, w.minor = Major, MaxMinor
		return sizeof[initOut](), 0
	}
	if in.major < Major || in.minor < MinMinor {
		s.destroy()
		return 0, syscall.EPROTO
	}
	offered := featuresOf(flags)
	if offered.Has(vfs.FeatSubmounts) && in.minor >= minorSubmountsEnd {
		offered |= vfs.FeatSubmountsEnd
	}
	features, errno := s.fs.Init(offered)
	if errno != 0 {
		s.destroy()
		return 0, errno
	}
	s.begun = true
	sess := &session{minor: min(in.minor, MaxMinor), features: features & offered}
	accepted := flags&initAlways | flagsOf(sess.features)
	w := out[initOut](c)
	*w = initOut{
		major:               Major,
		minor:               sess.minor,
		maxReadahead:        in.maxReadahead,
		flags:               uint32(accepted),
		maxBackground:       s.background,
		congestionThreshold: max(s.background/4*3, 1),
		maxWrite:            s.maxWrite,
		timeGran:            1,
		maxPages:            uint16(s.maxWrite / pageSize),
		flags2:              uint32(accepted >> 32),
	}
	s.session.Store(sess)
	s.log.Debug("fuse: session", "minor", sess.minor, "flags", accepted)
	return sizeof[initOut](), 0
}

// destroySession serves DESTROY.
func (s *Server) destroySession(c *Call) (int, syscall.Errno) {
	if !s.endSession(c.req.Nowait) {
		return 0, vfs.WouldBlock
	}
	defer s.lifeMu.Unlock()
	s.destroy()
	return 0, 0
}

// endSession ends the session, so that no request belongs to one, and waits for
// those that still wait. It returns with lifeMu held; with nowait it may
// instead return false, having only hurried the others on.
func (s *Server) endSession(nowait bool) bool {
	if nowait {
		if !s.lifeMu.TryLock() {
			return false
		}
		s.session.Store(nil)
		if s.pending.cancelAll(ordinary, locking) {
			s.lifeMu.Unlock()
			return false
		}
		return true
	}
	s.lifeMu.Lock()
	s.session.Store(nil)
	s.pending.drain(ordinary, locking)
	return true
}

// destroy has the file system drop its session. lifeMu is held.
func (s *Server) destroy() {
	s.session.Store(nil)
	if s.begun {
		s.begun = false
		s.fs.Destroy()
	}
}
