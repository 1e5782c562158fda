// Command benchmount measures file system calls in a directory, in mounts of it
// by "isthmus mount", and in mounts of it by other programs.
//
//	go run ./internal/benchmount [--peer NAME=COMMAND] …
//
// Whoever serves a mount is a process of its own; the calls are made by this one.
// A directory of files is made once and all contenders work in it. In each round
// every contender has one turn, in an order that changes from round to round: its
// mount is made anew, does the whole table of workloads and is removed. So what
// else goes on in the machine meets all of them alike, and what is told at the end
// are medians over the rounds with the smallest and the largest value.
//
// Each workload checks each answer, and after those that change something the
// bare directory is looked at: a mount that does less than it was asked to is an
// error, not fast.
//
// What lies under the mount is in the host's page cache throughout. "Uncached"
// is said of the mount: its own pages were dropped, and every call goes to the
// server. The bare directory has no second cache, and is simply read.
package main
