// Package e2e holds the tests that put everything together: the isthmus program
// as a process of its own, and unmodified Linux kernels as guests. They need
// root, User-Mode Linux, QEMU with a Debian kernel, debootstrap and fuse3; a
// missing one is a failure that names the package.
//
// Most tests with guests are parallel: -parallel says how many guests there are
// at a time.
package e2e
