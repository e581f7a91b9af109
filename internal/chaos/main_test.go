package chaos_test

import (
	"os"
	"testing"

	"github.com/agner-go/agner/internal/chaos"
	"github.com/agner-go/agner/internal/testserver"
)

func TestMain(m *testing.M) {
	chaos.ServeIfAsked()
	os.Exit(testserver.Main(m))
}
