package tree

import "syscall"

// MountOptions say more about a mount than where it is. The zero value is what
// [FS.Mount] takes.
type MountOptions struct {
	// Unlink lets guests remove the name of the mount, if it is no directory. It
	// is called when one does so, and its error is the guest's answer: for 0 the
	// name is gone, otherwise nothing has changed. nil refuses with EBUSY, as for a
	// mount point of Linux. [Hide] is 0 always; what also removes the host's file
	// does that here.
	//
	// It may wait, holds up other removals of this name alone, and must not call
	// the tree. It is not under way any more when Ended is called.
	Unlink func() syscall.Errno
	// Ended, if not nil, is called once when the mount is over: when Unmount has
	// taken it away, before that returns, or when its name was removed and the
	// guest has given all references back or its session has ended. The tree makes
	// no more calls on the file system then, and has ended the session of it. What is
	// still mounted when the tree itself is given up does not end.
	//
	// The tree may be called from it.
	Ended func()
}

// Hide is a [MountOptions.Unlink] that agrees and leaves the host's file alone.
func Hide() syscall.Errno { return 0 }
