// Package e2e holds the tests that put everything together: the isthmus program
// as a process of its own, and unmodified Linux kernels as guests. They need
// root, User-Mode Linux, QEMU with a Debian kernel, and debootstrap; a missing
// one is a failure that names the package.
package e2e
