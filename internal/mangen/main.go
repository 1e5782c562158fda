// Command mangen writes the man pages of isthmus into a directory.
package main

import (
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra/doc"

	"github.com/isthmus-fs/isthmus/internal/cli"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: mangen DIRECTORY")
	}
	dir := os.Args[1]
	if err := os.MkdirAll(dir, 0o755); err != nil {
		log.Fatal(err)
	}
	header := &doc.GenManHeader{Title: "ISTHMUS", Section: "1", Source: "isthmus"}
	root := cli.NewCommand()
	root.DisableAutoGenTag = true
	if err := doc.GenManTree(root, header, dir); err != nil {
		log.Fatal(err)
	}
	if err := amend(filepath.Join(dir, "isthmus-virtiofsd.1")); err != nil {
		log.Fatal(err)
	}
}

// amend corrects how options of virtiofsd are shown: those that take no value, and
// those that are one letter alone.
func amend(page string) error {
	b, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	corrections := []string{"[=]", ""}
	for _, letter := range []string{"o", "d", "f"} {
		alone := `\fB-` + letter + `\fP`
		corrections = append(corrections, alone+`, \fB--`+letter+`\fP`, alone)
	}
	return os.WriteFile(page, []byte(strings.NewReplacer(corrections...).Replace(string(b))), 0o644)
}
