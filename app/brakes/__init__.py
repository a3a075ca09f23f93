"""The mass-disconnect brake: a site that falls silent at once is one alert and `Unknown`, not a hundred alerts."""
