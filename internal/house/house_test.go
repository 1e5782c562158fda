package house

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const module = "github.com/isthmus-fs/isthmus"

// floors says how high each package stands. A package imports only from floors
// below its own, and test helpers of its own.
var floors = map[string]int{
	"kvm":                     0,
	"oslib":                   0,
	"vfs":                     1,
	"virtq":                   1,
	"guestmem":                1,
	"vfs/vfstest":             1,
	"virtq/virtqtest":         1,
	"archive":                 2,
	"overlay":                 2,
	"passthrough":             2,
	"rules":                   2,
	"scratch":                 2,
	"tree":                    2,
	"watch":                   2,
	"fuse":                    3,
	"fuse/fusetest":           3,
	"fusedev":                 4,
	"hypercall":               4,
	"virtiofs":                4,
	"virtiofs/virtiofstest":   4,
	"sandbox":                 5,
	"vhostuser":               5,
	"vhostuser/vhosttest":     5,
	"vmm":                     5,
	"vmm/gdb":                 5,
	"vmm/hermit":              5,
	"vmm/virtionet":           5,
	"vmm/virtiopci":           5,
	"internal/audit":          5,
	"internal/compose":        5,
	"internal/control":        5,
	"internal/metrics":        5,
	"internal/runspec":        5,
	"internal/spec":           5,
	"internal/lab":            6,
	"internal/lab/guestagent": 6,
	"internal/lab/labtest":    6,
	"internal/cli":            6,
	"internal/compat":         6,
	"internal/benchmount":     6,
	"internal/e2e":            6,
	"internal/e2e/churn":      6,
	"internal/e2e/holdlock":   6,
	"internal/fsx":            6,
	"internal/guesttest":      6,
	"internal/hermittest":     6,
	"internal/house":          6,
	"internal/mangen":         7,
	"cmd/isthmus":             7,
}

// sameFloor lists the imports that do not go down.
var sameFloor = map[string]bool{
	"virtq guestmem":                       true, // a queue translates through a view of guest memory
	"vfs/vfstest vfs":                      true,
	"virtq/virtqtest virtq":                true,
	"virtq/virtqtest guestmem":             true,
	"fuse/fusetest fuse":                   true,
	"vhostuser/vhosttest vhostuser":        true,
	"vmm/gdb vmm":                          true,
	"vmm/hermit vmm":                       true,
	"vmm/virtionet vmm/virtiopci":          true,
	"internal/runspec internal/spec":       true,
	"internal/runspec vmm/hermit":          true,
	"internal/cli internal/lab":            true,
	"internal/compose internal/spec":       true,
	"internal/metrics internal/control":    true,
	"internal/lab/guestagent internal/lab": true,
	"internal/lab/labtest internal/lab":    true,
}

type listed struct {
	ImportPath string
	Imports    []string
}

func listPackages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var pkgs []listed
	dec := json.NewDecoder(bytes.NewReader(out))
	for {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

func TestPackagesImportOnlyFromFloorsBelow(t *testing.T) {
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		floor, ok := floors[name]
		if !ok {
			t.Errorf("%s has no floor: add it to the table here and in docs/design.md", name)
			continue
		}
		for _, imp := range p.Imports {
			dep, ours := strings.CutPrefix(imp, module+"/")
			if !ours {
				continue
			}
			below, ok := floors[dep]
			if !ok || below < floor || sameFloor[name+" "+dep] {
				continue
			}
			t.Errorf("%s (floor %d) imports %s (floor %d)", name, floor, dep, below)
		}
	}
}

func TestEveryDependencyHasItsReason(t *testing.T) {
	doc, err := os.ReadFile("../../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	gomod, err := os.Open("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	defer gomod.Close()
	required := regexp.MustCompile(`^\s*(?:require\s+)?([\w.-]+\.[\w.-]+/\S+)\s+v`)
	found := 0
	for sc := bufio.NewScanner(gomod); sc.Scan(); {
		m := required.FindStringSubmatch(sc.Text())
		if m == nil {
			continue
		}
		found++
		if !strings.Contains(string(doc), "`"+m[1]+"`") {
			t.Errorf("%s is in go.mod but not in docs/dependencies.md", m[1])
		}
	}
	if found == 0 {
		t.Fatal("no requirement found in go.mod: has its form changed?")
	}
}

func TestUnsafeStandsInItsOwnFiles(t *testing.T) {
	imports := regexp.MustCompile(`(?m)^\s*(?:import\s+)?"unsafe"`)
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		base := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(path), ".go"), "_test")
		if strings.HasSuffix(base, "_unsafe") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err == nil && imports.Match(src) {
			t.Errorf("%s imports unsafe", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
