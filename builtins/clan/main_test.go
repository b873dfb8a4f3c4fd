package clan

import (
	"os"
	"testing"

	"infra/builtins/internal/clantest"
)

// TestMain removes what tests share: the stand-in for clan, and a clan.
func TestMain(m *testing.M) {
	code := m.Run()
	clantest.CleanUp()
	if standInDir != "" {
		_ = os.RemoveAll(standInDir)
	}
	os.Exit(code)
}
