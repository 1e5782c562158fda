package cli

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/isthmus-fs/isthmus/internal/compose"
	"github.com/isthmus-fs/isthmus/internal/spec"
)

func newCtlAdd(f *ctlFlags) *cobra.Command {
	var within string
	cmd := &cobra.Command{
		Use:   "add SPEC",
		Short: "Add a mount while guests use the share",
		Long: `add mounts what SPEC says, in the words of --share: HOST[:GUEST[:OPTION,...]], or OPTION,OPTION,...
with source=HOST and target=GUEST among them. Guests see it at once, but for names that they
remember as missing.

The source is opened here, with your rights, and handed over: the daemon itself is closed in and
cannot reach it. A relative HOST begins at the directory that you are in.

From root, a directory or file is handed over on a mount of its own, from which nothing leads up to the
rest of the host, and which does not show what is mounted below later. For a daemon that looks at where
a source is, one with --allow-source DIR, it has to be a mount of DIR: say --within DIR.`,
		Example: `  isthmus ctl add /srv/data:/data:ro
  isthmus ctl add type=archive,source=rootfs.tar.zst,target=/opt/rootfs
  isthmus ctl add type=scratch,target=/tmp,size=512M,mode=1777`,
		Args: cobra.ExactArgs(1),
		// An archive may take its time: until it is there or whoever waits has enough.
		RunE: f.run(0, func(ctx context.Context, c *ctlCall) error {
			m, files, err := openSpec(c.args[0], within)
			if err != nil {
				return err
			}
			defer func() {
				for _, file := range files {
					file.Close()
				}
			}()
			return c.done(c.client.Add(ctx, m.String(), files))
		}),
	}
	cmd.Flags().StringVar(&within, "within", "", "hand over the source in a mount of this directory, which the daemon has as --allow-source")
	return cmd
}

// openSpec reads a value of --share and opens what a daemon needs to mount it. The
// caller closes the files. The source becomes absolute: it is what the daemon calls the
// mount. within is for [openAdded].
func openSpec(text, within string) (spec.Mount, []*os.File, error) {
	m, err := spec.ParseFlag(text)
	if err != nil {
		return m, nil, usagef("%v", err)
	}
	if m, err = compose.Settle(m); err != nil {
		return m, nil, err
	}
	if m.Source != "" && !filepath.IsAbs(m.Source) {
		here, err := os.Getwd()
		if err != nil {
			return m, nil, err
		}
		// Not cleaned: what a .. leads to after a symbolic link, only the kernel knows.
		m.Source = here + "/" + m.Source
	}
	decided := compose.Decide(&m, slog.New(slog.DiscardHandler))
	f, err := openAdded(&decided, tempDir(""), within)
	if err != nil {
		return m, nil, err
	}
	return m, f.List(&decided), nil
}
