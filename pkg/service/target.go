package service

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/agner-go/agner/internal/subject"
)

const (
	// instanceAll in the place of an instance addresses each of them.
	instanceAll = "all"
	// cancelToken in the place of an endpoint is the cancel subject.
	cancelToken = "cancel"
	// queueGroup is the one that nats.go/micro uses by default, which tools
	// show. Subjects are a service's own, so one name does for all.
	queueGroup = "q"
)

// address is what the subjects of one service are built from.
type address struct {
	ns      subject.Namespace
	service string
}

func (a address) any(endpoint string) string {
	if a.ns == "" {
		return "rpc." + a.service + "." + endpoint
	}
	return a.ns.Subject("rpc." + a.service + "." + endpoint)
}

func (a address) instance(endpoint, instance string) string {
	return a.ns.Subject("rpc." + a.service + "." + endpoint + "." + instance)
}

func (a address) cancel() string { return a.any(cancelToken) }

// parseTarget splits "service.endpoint".
func parseTarget(target string) (service, endpoint string, err error) {
	service, endpoint, ok := strings.Cut(target, ".")
	if !ok {
		return "", "", fmt.Errorf("target %.60q is not of the form service.endpoint: %w", target, ErrTarget)
	}
	if err := subject.CheckName("service", service); err != nil {
		return "", "", fmt.Errorf("target %.60q: %w: %w", target, err, ErrTarget)
	}
	if err := checkToken("endpoint", endpoint); err != nil {
		return "", "", fmt.Errorf("target %.60q: %w: %w", target, err, ErrTarget)
	}
	return service, endpoint, nil
}

// checkToken validates the name of an endpoint or instance, whose subjects
// meet those of `all` and `cancel`.
func checkToken(what, name string) error {
	if name == instanceAll || name == cancelToken {
		return fmt.Errorf("%s %q is a reserved name: %w", what, name, subject.ErrName)
	}
	return subject.CheckName(what, name)
}

// checkVersion holds a version against the grammar of https://semver.org,
// 2.0.0, which the discovery protocol demands.
func checkVersion(version string) error {
	const number, word = `(0|[1-9]\d*)`, `[0-9A-Za-z-]+`
	const pre = `(0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)`
	const grammar = `^` + number + `\.` + number + `\.` + number +
		`(-` + pre + `(\.` + pre + `)*)?(\+` + word + `(\.` + word + `)*)?$`
	if ok, err := regexp.MatchString(grammar, version); err != nil || !ok {
		return fmt.Errorf("version %.60q is not of the form 1.2.3 (semver.org): %w", version, ErrConfig)
	}
	return nil
}
