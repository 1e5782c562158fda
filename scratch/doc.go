// Package scratch is private, temporary, writable space as a vfs.FileSystem.
//
// It begins as an empty directory, and all that a guest puts there is gone when it
// is closed or its process dies. Nothing of it has a name on the host, and it takes
// no privileges.
//
// # Where things are
//
// Nodes, names and attributes are Go values. The data of all files are in one data
// file: a memfd or, with [Options.Dir], a file without a name on a disk. Its pages
// are given to the files by a bitmap; each file has a table of the pages that are
// its own. A page that no file has is always a hole of the data file. So it takes no
// memory of the host, and it is zero when a file gets it.
//
// Reads and writes are preadv2 and pwritev2 between the data file and the guest's
// memory: the data never pass through memory of this process. Memory of the guest
// that is not there is EFAULT or a short count, and the file then has what the count
// says.
//
// # Limits
//
// Three things are limited, and beyond them is ENOSPC: pages of data, nodes, and the
// bytes of memory that all else takes (names, tables, extended attributes). The
// first two are exact and what statfs(2) shows. A page counts from the write or the
// fallocate(2) that asks for it until it is cut off or punched out, or its file is
// gone; one that was removed counts until it is closed and forgotten.
//
// # Semantics
//
// Those of tmpfs, and of ext4 where that has more (FALLOC_FL_ZERO_RANGE). Locks are
// left to the guest, and ACLs are ENOTSUP. Permission checks are the guest's;
// ownership of what is made follows [vfs.Request]. Devices, pipes and sockets exist
// for the guest to see. Access times are kept as "relatime" has it. An fsync has
// nothing to do, as nothing outlives the process.
//
// # Sessions
//
// What a guest made stays when its session ends and another begins, but for files
// without a name. The space is for one guest at a time: guests are told to cache
// everything for a day.
//
// # Concurrency
//
// As vfs.FileSystem has it. Locks are taken in this order:
//
//   - FS.tree, for all that names are about: entries and parents of directories.
//     Reading for a lookup or a listing, writing for what makes or removes a name;
//     so a rename sees a tree that stands still. Never held during I/O.
//   - node.data, for the pages and the size of one file. Reading for a read, writing
//     for all that changes data; both during I/O. Who needs that of two files takes
//     the one with the lower id first.
//   - node.mu, for attributes, counts and extended attributes of one node. Size and
//     number of pages change under both locks, so either is enough to read them.
//     Short; no two at once.
//   - store.mu, nodeTable.mu and handleTable.mu, which come last.
//
// A node dies when it has no name, no open handle and no reference left. That is
// decided under node.mu; whoever finds a node dead under one of its locks leaves it
// alone.
package scratch
