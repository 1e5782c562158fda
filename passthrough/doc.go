// Package passthrough is a host directory, or a single host file, as a
// vfs.FileSystem.
//
// # Nodes
//
// A node is identified by device, inode number and mount id. It holds the object
// by an O_PATH descriptor or, where the file system has them, by a file handle,
// from which a descriptor is made when it is needed and kept while it is hot. A
// node id carries a generation, so that an id which the guest has forgotten is
// ESTALE and never another file.
//
// # Trust
//
// All names are single components and are resolved relative to a directory
// descriptor without following symbolic links: the guest resolves links and
// "..", the host never does. Only regular files and directories are ever opened;
// sockets, pipes and devices exist for the guest to see, not for us to touch.
// What a guest can take from the host is bounded: descriptors by a quota,
// memory by nodes the guest itself keeps.
//
// # Identity
//
// Calls that create run with the caller's uid, gid and groups on the calling
// thread, so that ownership, quota, setgid inheritance and default ACLs come out
// as the kernel has them. All others run as the daemon: a guest checks
// permissions itself, and whoever controls the guest's kernel controls every id
// in it.
//
// A daemon without privileges, or one in a user namespace, serves the ids that it
// has: itself, as which the guest's root acts too, and those that its namespace
// maps. To make something as any other is EPERM. It holds nodes by descriptor, as
// opening by handle is a right over a whole file system.
//
// # The host's page cache
//
// File data go through the host's page cache as those of any program do, and a guest's
// O_SYNC is the host's. [Config] IO has all files read and written past it, or on the disk
// before a write is answered. In the ordinary mode a door may leave reads and writes to the
// kernel altogether ([FS.Backing]).
package passthrough
