package vfs

// Counter is a [FileSystem] that can say what it holds.
type Counter interface {
	// Counts may be called at any time, from any goroutine.
	Counts() Counts
}

// Counts says what a file system holds at the moment. The numbers need not be of
// one instant.
type Counts struct {
	Nodes       uint64 // that the guest knows, with the root
	Handles     uint64 // open files and directories
	Descriptors uint64 // of the host, for all purposes
	Bytes       uint64 // of private data, in memory or on disk; of a host directory none
}

// Add adds up what several file systems hold.
func (c *Counts) Add(more Counts) {
	c.Nodes += more.Nodes
	c.Handles += more.Handles
	c.Descriptors += more.Descriptors
	c.Bytes += more.Bytes
}

// A Backer is a [FileSystem] whose files are, some of them, files of the host's.
type Backer interface {
	// Backing returns a descriptor of the regular host file that an open
	// handle of node stands for, not opened with O_PATH. ok is false where
	// reads and writes must come to the file system. The descriptor stays the
	// Backer's and is valid until the handle is released or the session ends.
	//
	// The door has the kernel open the file anew, with the flags of the process
	// that opens (O_DIRECT and O_NOATIME among them) and the rights of this one,
	// and read, write and map it in the handle's place. So no rule of the file
	// system about data applies, and it must have refused to open what may not be
	// written. All handles of a node that are open at the same time use the
	// file named for the first of them.
	Backing(node NodeID, h Handle) (fd int, ok bool)
}

// A Tolerant is a [FileSystem] that does the same whether some features are agreed
// on or not.
type Tolerant interface {
	// Tolerates returns features that a session of several file systems may have
	// though Init did not want them. It may be called at any time, and the answer
	// is always the same.
	//
	// To want a feature is to ask for it, also where no other file system has a use
	// for it; to tolerate it is not to stand in its way.
	Tolerates() Features
}
