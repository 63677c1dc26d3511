"""The contest of algorithms on the same questions: protocols, learners, measures. Nothing is tuned on the test part."""
