"""Masks, DICOM segmentations and datasets of arrays, written in formats that others read. No torch."""
