package gdb

import (
	"testing"

	"github.com/isthmus-fs/isthmus/internal/lab/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }
