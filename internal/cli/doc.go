// Package cli is the command line of isthmus: one file per subcommand, each
// turning flags into the configuration of the packages below and nothing more.
//
// Exit status: 0 for success, 1 when the work failed, 2 when the command line
// was wrong; `try` passes on the status of the guest's command.
package cli
