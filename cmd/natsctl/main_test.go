package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/agner-go/agner/internal/testserver"
)

// leakChecked is testing.M with the check for goroutines that outlive the tests.
type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int { return testserver.Main(l.m) }

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"natsctl": main})
}
