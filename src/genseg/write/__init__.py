"""Masks, DICOM segmentations and data sets of arrays, written in formats that others read. No torch."""
