// Package watch knows what a guest does with a share: which file each node is, what
// is open, and who called what. It is a [vfs.FileSystem] around all that a guest
// sees, and answers nothing itself. A daemon puts it there only if its owner asked
// for a control socket or an access log.
//
// # Paths
//
// Nodes have no names in the contract of package vfs, so [FS] listens: to lookups,
// listings and whatever makes, moves or removes a name. A path is what the guest was
// last told, as root of the share sees it. A node with several names has the one that
// was used last. One whose last known name was removed has " (deleted)" behind it, as
// in /proc/PID/fd; a file made without a name is "#" and its number in the directory
// where it was made, and deleted from the start. A path whose upper part is not
// known, or that is longer than PATH_MAX, begins with "(unreachable)" instead of "/".
//
// Names that change on the host are noticed when the guest looks again. A node keeps
// [maxNames] names at most; if a file has more hard links than that and all kept ones
// are removed, it counts as deleted until it is looked up.
//
// # Bounds
//
// A node is known as long as the guest holds references that passed through here, and
// a file is open until it is released. So memory is bounded by what the file system
// behind holds for the same guest; it is some hundred bytes and a name for each node. To
// keep it so against guests that lie, two calls are not passed on as they came: a
// Forget gives back no more references than there are, and a Release of a handle that
// no call has returned yet is EBADF.
//
// # Records
//
// With a [Recorder], each call is reported when it ends: all but Init, Destroy and
// Forget, which no process asks for. A call that answers vfs.WouldBlock is not
// reported; it is made again, and that is. Processes reach their guest's kernel, not
// this package: what the guest answers out of its caches is never seen here, and
// reads and writes may have been collected by it. Data that the host's kernel moves
// between a file and its user, where a door uses [FS.Backing], do not come here
// either: neither records nor counts of bytes know of them.
//
// # Trust
//
// Guests are hostile. Names and ids come here only after the file system behind took
// them. A guest that makes calls on one name at once may leave a path that is not
// true, of its own files; walking up a path ends after PATH_MAX bytes whatever the
// parents are. Names hold any byte but '/' and NUL: who shows them escapes them.
//
// # Concurrency
//
// As vfs.FileSystem has it. A walk up a path takes no lock. Locks, in the order in
// which they are taken, none of them held during a call to the file system behind:
//
//   - nodeShard.mu, for which nodes there are and their references;
//   - node.mu, for the names of one node, never of two at once;
//   - children.mu, for the names in one directory.
//   - fileShard.mu, for open files, by itself.
package watch
