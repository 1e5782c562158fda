// Package overlay is a writable layer over a vfs.FileSystem that stays as it is.
//
// A guest sees the lower file system and may change all of it. What it changes,
// makes or removes is kept in a second one, the upper, which belongs to the
// overlay alone and begins empty. The lower one is only ever read. What a guest
// sees is what Linux's overlayfs would show, and where that differs from a plain
// directory (link counts, directories that cannot be renamed, open files that do
// not see a change), what a plain directory would show.
//
// # Where things are
//
// The upper's root is an index. When an object of the lower file system is first
// changed, an upper part of it is made there under a number: a copy of a file, link
// or device, or for a directory an empty one with the same attributes. This is the
// copy-up, and no other directory needs one for it.
//
// The names of the lower file system stay where they are. They lead to the upper
// part through a record, which the overlay keeps in memory for each object that
// has one. Names that the guest makes are in the upper part of their directory.
// Lower names that were removed or moved are in the record of their directory, as
// hidden. So each name of a merged directory is in one of the layers only:
//
//	shown = names in the upper part + lower names that are not hidden
//
// A listing is one after the other and needs no memory; a directory's link count
// is a sum. A directory made in the place of one that was removed has no record,
// so nothing of the old one shows through.
//
// Renaming a lower object first gives it a name in the upper directory, in the
// place of the lower one, which shows nothing new; then it is renamed there. A
// directory takes its upper part along, and with it, by its record, the lower
// directory, wherever it goes: no rename is EXDEV, and none copies more than the
// one object.
//
// Records, and with them whiteouts, last as long as the [FS]; the upper is for
// temporary files. A session's end ([FS.Destroy]) keeps them.
//
// # Nodes
//
// A node is an object with a lower id, an upper id or both. It has one reference
// or more of each child's node, which it gives back when the guest has forgotten
// it and nothing else needs it: an open handle, a call that is under way, a
// directory below it. Node id and inode number are the same before and after a
// copy-up; the latter also when the guest has forgotten the node in between. Inode
// numbers are unique across both layers where those of each are below 1<<63:
// shifted by one, with the layer in the lowest bit. So they are as unique as the
// lower file system's own: where that has several host file systems with equal
// numbers below it, so has the overlay.
//
// The names of one lower file with several links stay names of one file over a
// copy-up. The lower file's link count is taken over; names outside of the lower
// root count for ever.
//
// # Copy-up
//
// It happens before the first open for writing, change of attributes or extended
// attributes, link or rename. Owner, mode, times, extended attributes and data go
// with it; holes stay holes; what an O_TRUNC or a truncation throws away is not
// copied. It is made aside and takes effect at once at its end: where it fails,
// nothing has changed. A large one holds up only calls that need the copy itself.
// An attribute that the upper does not take (EOPNOTSUPP) is left out, but for
// ACLs: without them more would be allowed. Inode flags (chattr(1)) and birth
// times stay behind.
//
// Files that are open while it happens follow: they read the copy from then on.
//
// # What differs from the children
//
// Features are agreed as both children want or tolerate them, but for those that
// concern changes only, which are the upper's to decide. Locks are left to the guest, as
// a lock on the lower file would be lost with the copy-up. Free space is the
// upper's. RENAME_WHITEOUT leaves what it leaves in any directory, a device 0:0.
//
// # Trust
//
// Ids, handles and names come from a hostile guest. It can make the overlay keep
// memory in proportion to the objects of the lower file system that it has
// changed or removed, and to the directory positions it was given while it has
// the directory open. Whatever the lower file system answers, nothing is written
// to it. It must not change while it is served: then names may be missing or show
// an older file, and no more than that.
//
// # Concurrency and waiting
//
// As [vfs.FileSystem]. A call that needs a copy-up, a removal or a rename that
// takes more than one step in the upper is not made with Nowait.
//
// Lock order: FS.tree, the names of a directory's record, those of one below it,
// node.copying, nodeTable.mu. Whoever copies data holds node.copying only.
package overlay
