package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// machine is what the suites found or got installed.
type machine struct {
	chrome   string // path of Chrome or Chromium
	noChrome string // why there is none
}

// prepare installs what is missing, and compiles meanwhile. What cannot be had is reported and left to the tests: those
// that need it are skipped, or fail under CI=true.
func prepare(ctx context.Context, progress *progress) machine {
	var m machine
	var steps sync.WaitGroup
	steps.Go(func() {
		if err := installPackages(ctx, progress); err != nil {
			progress.printf("npm packages  NOT INSTALLED: %v", err)
		}
	})
	steps.Go(func() {
		chrome, err := findChrome(ctx, progress)
		if m.chrome = chrome; err != nil {
			m.noChrome = err.Error()
			progress.printf("Chrome        NOT FOUND: %v", err)
		}
	})
	steps.Go(func() {
		// What does not build is reported by the suites, beside the package it belongs to.
		_ = exec.CommandContext(ctx, "go", "build", "-race", "./...").Run()
	})
	steps.Wait()
	return m
}

// installPackages runs npm ci when the lock file is not the one that was installed last.
func installPackages(ctx context.Context, progress *progress) error {
	lock, err := os.ReadFile("test/package-lock.json")
	if err != nil {
		return fmt.Errorf("reading lock file: %w", err)
	}
	digest := sha256.Sum256(lock)
	want := hex.EncodeToString(digest[:])
	stamp := filepath.Join("test", "node_modules", ".installed-lock")
	if got, err := os.ReadFile(stamp); err == nil && string(got) == want {
		return nil
	}
	progress.printf("npm packages  installing (npm ci)")
	if err := command(ctx, "npm", "ci", "--prefix", "test", "--no-audit", "--no-fund", "--loglevel=error"); err != nil {
		return fmt.Errorf("npm ci: %w", err)
	}
	if err := os.WriteFile(stamp, []byte(want), 0o644); err != nil {
		return fmt.Errorf("writing stamp: %w", err)
	}
	progress.printf("npm packages  installed")
	return nil
}

// findChrome takes CHROME, then what is installed, then what apt-get can install here.
func findChrome(ctx context.Context, progress *progress) (string, error) {
	if named := os.Getenv("CHROME"); named != "" {
		found, err := exec.LookPath(named)
		if err != nil {
			return "", fmt.Errorf("CHROME: %w", err)
		}
		return found, nil
	}
	if found := installedChrome(); found != "" {
		return found, nil
	}
	if _, err := os.Stat("/etc/debian_version"); err != nil || os.Geteuid() != 0 {
		return "", fmt.Errorf("no Chrome or Chromium is installed; install one, or name it with CHROME=")
	}
	progress.printf("Chrome        installing (apt-get install chromium)")
	os.Setenv("DEBIAN_FRONTEND", "noninteractive")
	if err := command(ctx, "apt-get", "update", "-qq"); err != nil {
		return "", fmt.Errorf("apt-get update: %w", err)
	}
	if err := command(ctx, "apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"); err != nil {
		return "", fmt.Errorf("apt-get install chromium: %w", err)
	}
	if found := installedChrome(); found != "" {
		return found, nil
	}
	return "", fmt.Errorf("apt-get installed chromium, but it is not on PATH")
}

func installedChrome() string {
	for _, name := range []string{
		"google-chrome", "google-chrome-stable", "chromium", "chromium-browser", "chrome",
		"/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
	} {
		if found, err := exec.LookPath(name); err == nil {
			return found
		}
	}
	return ""
}

// command runs quietly, and tells all that was said when it fails.
func command(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, bytes.TrimSpace(out))
	}
	return nil
}
