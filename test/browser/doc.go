// Package browser signs in with a real Chromium: what it clicks, which cookies it holds after each step, whether the pages'
// policies let it through, and how they look. With SCREENSHOTS=<folder> it also keeps pictures of the pages. Without Chrome
// or Chromium, named by CHROME or on PATH, its tests are skipped, or fail under CI=true.
package browser
