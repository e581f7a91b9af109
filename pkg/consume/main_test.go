package consume_test

import (
	"os"
	"testing"

	"github.com/agner-go/agner/internal/testserver"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(workerEnv); url != "" {
		os.Exit(deadlyWorker(url))
	}
	os.Exit(testserver.Main(m))
}
