// Package tree composes file systems at guest paths into one vfs.FileSystem.
//
// # Mounts
//
// [FS.Mount] puts a file system at a path, [FS.Unmount] takes it away, both also
// while guests use the tree. The root of what is mounted may be a directory or
// anything else. The longest path wins, and the order of mounting does not matter:
// a mount at /a that comes after one at /a/b has /a/b inside it. One path holds one
// mount, and one file system is mounted once.
//
// A mount covers what is at its path in the mount below, whatever that is, or adds
// a name that is not there. It is attached to a name in a directory, not to a path:
// if that directory or one above it is renamed, the mount goes with it, as on
// Linux. Directories of the path that the mount below does not have are
// synthetic: mode 0555, owned by root, read-only, of the time when they were made.
// They are there as long as mounts are in them, and cover what the host puts there
// meanwhile. A file or a link in the middle of the path is ENOTDIR.
//
// The names of mounts come last in a listing. Mount points cannot be renamed,
// removed or replaced (EBUSY), directories with mounts in them not be removed or
// replaced (ENOTEMPTY), and a rename, link or copy from one mount into another is
// EXDEV. Only the name of a mount that is no directory can be removed, where
// [MountOptions] allow it.
//
// Where the guest knows submounts, the root directory of each mount but "/", and of each
// island of synthetic directories, says that it is one, and so has a device number of
// its own. Elsewhere (/dev/fuse, a mount that is no directory, and guests that do not outlive
// the end of a submount, where mounts may be removed) the index of the mount is in the
// upper 16 bits of inode numbers. So device and inode number together stay unique.
//
// # Names that guests remove
//
// A name that a guest has removed is gone at once, also from a synthetic
// directory. Open files and nodes are as those of any removed file: they go on until
// the guest gives back its last reference to the mount, or its session ends. Then
// the mount is over, which its owner is told.
//
// If the name covers nothing, it is as if it had never been mounted: who may write
// to the directory may make it anew. If it covers something, that is not what the
// guest has removed, and stays out of sight: the name is absent (ENOENT), cannot be
// made or be the target of a rename (EBUSY), and its directory, where there is
// still something, cannot be removed (ENOTEMPTY). In a synthetic directory, which
// stays, it can be made as little as any other (EROFS). This lasts, also over
// sessions, until the owner mounts something there or calls Unmount for the path,
// or until a new session finds that it no longer covers anything. Renames from or
// to the name of a mount are EBUSY whatever the options say.
//
// # Nodes
//
// A node id is the index of the mount in the upper 16 bits and the node's id in
// its file system in the 48 below. Index 0 is the mount at "/" or, without one,
// the synthetic root: a tree of one file system passes its ids, entries and listings
// on as they are. Positions in listings are the file system's own, but in
// directories with mounts a small part of the 64 bits (see tailBase) is kept for
// names of mounts, chosen where known host file systems have no position.
//
// The tree holds one reference to each directory with mounts in it, so these stay
// the nodes that they are. A guest's references to a mount are counted: after
// Unmount, all calls on its nodes and handles are ESTALE, and its index goes to
// another mount only when the guest has given all references back.
//
// # Sessions
//
// [FS.Init] offers the same to all file systems and agrees to what package
// variable combine says of each feature. For some it is enough that one wants
// them, and the tree stands in for those that do not; others all must want. What a
// file system loses by that it is told in another Init. As Init and Destroy drop
// all nodes, the tree walks to its mounts again, and makes synthetic directories
// of what is in the way.
//
// ENOSYS tells a guest never to make that call again, on whatever mount. So where
// there is more than one, the tree answers instead what the guest would have made
// of it.
//
// # Trust
//
// File systems are the owner's. Guests are not trusted: a forged id is ESTALE, and a
// guest that gives back more references than it has cannot detach a mount. If it
// lies about those of a mount that is gone, its old ids may come to mean files of
// a mount that takes the place, among those that it may see anyway.
//
// A mount hides what it covers, but not for good from a guest that may write to
// the mount below: it can rename a directory above, and see what was covered
// after its next start. To keep files from a guest, do not share them.
//
// # Concurrency
//
// All methods may be called from any number of goroutines at once. Calls at
// index 0 take no lock; those on other mounts count themselves in and out, for
// Unmount waits for them. So do Init and Destroy. A mount whose name was removed
// ends on a goroutine of its own. Waits for locks of files are
// ended for that; a file system that hangs holds up its own removal, and that of a
// session.
//
// What guests remember (see vfs.Entry) they look up again when it expires or is
// ESTALE. Names of mounts and synthetic directories are valid for a second at
// most; a name that a mount comes to cover, for as long as its file system said,
// or as short if the owner has announced changes ([Config]).
package tree
