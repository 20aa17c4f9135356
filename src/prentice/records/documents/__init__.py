"""Documents: files of text, Markdown, HTML and JSON lines, read as text; the ledger says what was left out, and why."""

from prentice.records.documents.document import Document, DocumentError
from prentice.records.documents.finding import documents_hash, find_files
from prentice.records.documents.reading import Reading, read_documents

__all__ = ["Document", "DocumentError", "Reading", "documents_hash", "find_files", "read_documents"]
