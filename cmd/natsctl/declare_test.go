package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/agner-go/agner/pkg/consume"
	"github.com/agner-go/agner/pkg/envelope"
	"github.com/agner-go/agner/pkg/service"
)

// declares FILE GENERATION DURABILITY TYPE... writes the declaration of the
// service billing with a handler for each type.
func cmdDeclares(ts *testscript.TestScript, _ bool, args []string) {
	generation, err := strconv.ParseUint(args[1], 10, 64)
	ts.Check(err)
	cfg := service.Config{Name: "billing", Version: "1.2.3", Logger: slog.New(slog.DiscardHandler)}
	cfg.Consume.Generation = generation
	ts.Check(cfg.Durability.UnmarshalText([]byte(args[2])))
	var parts []service.Part
	for _, typ := range args[3:] {
		parts = append(parts, service.OnEvent(typ, func(context.Context, envelope.Raw) error { return nil },
			consume.WithName(typ[:4])))
	}
	svc, err := service.New(of(ts).nc, cfg, parts...)
	ts.Check(err)
	text, err := json.Marshal(svc.Declaration())
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), text, 0o600))
}
