package natstest_test

import (
	"testing"

	"github.com/agner-go/agner/internal/testserver"
	"github.com/agner-go/agner/pkg/natstest"
)

func TestConformance(t *testing.T) { //nolint:tparallel // the streams are listed when the suite is over
	t.Parallel()
	s := testserver.Start(t)
	t.Run("suite", func(t *testing.T) { natstest.Conformance(t, s.Connect(t)) }) //nolint:paralleltest // as above
	list := s.JetStream(t).StreamNames(t.Context())
	for name := range list.Name() {
		t.Errorf("the suite has left the stream %s", name)
	}
	if err := list.Err(); err != nil {
		t.Error(err)
	}
}

// A whole cluster, as users have it: streams get three replicas there.
func TestConformanceOfACluster(t *testing.T) {
	t.Parallel()
	natstest.Conformance(t, testserver.StartCluster(t, 3).Connect(t))
}
