package natstest_test

import (
	"os"
	"testing"

	"github.com/agner-go/agner/internal/testserver"
)

func TestMain(m *testing.M) { os.Exit(testserver.Main(m)) }
