package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/isthmus-fs/isthmus/internal/compose"
	"github.com/isthmus-fs/isthmus/vhostuser"
)

// held is what a daemon opens before it is closed in, and the closed-in process gets from
// the one that it was started by.
type held struct {
	socket  *vhostuser.Listener // front ends connect here
	observe observed
	mounts  []compose.Files
	later   []*os.File // directories that mounts may come from later
}

// hold opens all that c says. What was opened is closed again after an error.
func (c *daemonConfig) hold() (_ *held, err error) {
	h := &held{}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	for i := range c.share.mounts {
		f, err := compose.OpenFiles(&c.share.mounts[i], tempDir(c.share.tempDir))
		if err != nil {
			return nil, err
		}
		h.mounts = append(h.mounts, f)
		if err := setApart(&h.mounts[i].Parent, "", false); err != nil {
			return nil, err
		}
	}
	for _, path := range c.observe.later {
		dir, err := openDir(path)
		if err != nil {
			return nil, fmt.Errorf("--allow-source: %w", err)
		}
		h.later = append(h.later, dir)
	}
	if h.observe, err = c.observe.open(); err != nil {
		return nil, err
	}
	h.socket, err = c.listen.open()
	return h, err
}

// files lists what is handed over to a closed-in process; takeFiles makes a held of the
// list there. duplicates are those of sockets that this process goes on to own.
func (h *held) files(c *daemonConfig) (list, duplicates []*os.File, err error) {
	socket, err := h.socket.File()
	if err != nil {
		return nil, nil, err
	}
	list, duplicates = append(list, socket), append(duplicates, socket)
	if err := h.observe.pair(); err != nil {
		return nil, duplicates, err
	}
	if h.observe.control != nil {
		control, err := h.observe.control.File()
		if err != nil {
			return nil, duplicates, err
		}
		list, duplicates = append(list, control), append(duplicates, control)
	}
	for _, f := range []*os.File{h.observe.audit, h.observe.answers} {
		if f != nil {
			list = append(list, f)
		}
	}
	for i := range h.mounts {
		list = append(list, h.mounts[i].List(&c.share.mounts[i])...)
	}
	return append(list, h.later...), duplicates, nil
}

func takeFiles(c *daemonConfig, list []*os.File) (*held, error) {
	h := &held{mounts: make([]compose.Files, len(c.share.mounts))}
	if len(list) == 0 {
		return nil, errors.New("the outer process passed on no socket")
	}
	var err error
	if h.socket, err = vhostuser.FromFile(list[0]); err != nil {
		return nil, err
	}
	list[0].Close()
	if list, err = h.observe.take(&c.observe, list[1:]); err != nil {
		return nil, err
	}
	for i := range h.mounts {
		if h.mounts[i], list, err = compose.TakeFiles(&c.share.mounts[i], list, false); err != nil {
			return nil, err
		}
	}
	if len(list) != len(c.observe.later) {
		return nil, fmt.Errorf("the outer process passed on %d files too many", len(list)-len(c.observe.later))
	}
	h.later = list
	return h, nil
}

// close closes what is still open: a file whose place another took over is nil.
func (h *held) close() {
	if h.socket != nil {
		h.socket.Close()
	}
	h.observe.close()
	for i := range h.mounts {
		h.mounts[i].Close()
	}
	h.closeLater()
}

// closeLater closes what only [sandbox.Lock] had a use for: while they are open, the
// descriptors lead out.
func (h *held) closeLater() {
	for _, f := range h.later {
		f.Close()
	}
	h.later = nil
}
