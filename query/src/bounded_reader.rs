//! Reading of Parquet files, where the pages of a column are looked at before they are decoded: a
//! page that claims gigabytes, or a text that every row repeats, never takes the memory it stands
//! for (`dyno_store::check_pages`). What is too large ends the query with an error that names it,
//! and the file is set aside like any other bad one.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::common::Result;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use dyno_store::check_pages;
use futures::FutureExt;
use futures::future::BoxFuture;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::ParquetMetaData;

/// Makes a [`BoundedReader`] of each reader of another factory.
#[derive(Debug)]
pub(crate) struct BoundedReaderFactory {
    pub readers: CachedParquetFileReaderFactory,
}

impl ParquetFileReaderFactory for BoundedReaderFactory {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        footer_bytes: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let reader = self.readers.create_reader(partition, file, footer_bytes, metrics)?;
        Ok(Box::new(BoundedReader { reader, metadata: None }))
    }
}

/// A reader that checks the pages it reads.
struct BoundedReader {
    reader: Box<dyn AsyncFileReader + Send>,
    metadata: Option<Arc<ParquetMetaData>>,
}

impl BoundedReader {
    async fn check(&mut self, start: u64, bytes: &Bytes) -> ParquetResult<()> {
        let metadata = match &self.metadata {
            Some(metadata) => Arc::clone(metadata),
            None => self.get_metadata(None).await?,
        };
        check_pages(&metadata, start, bytes).map_err(ParquetError::General)
    }
}

impl AsyncFileReader for BoundedReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        async move {
            let bytes = self.reader.get_bytes(range.clone()).await?;
            self.check(range.start, &bytes).await?;
            Ok(bytes)
        }
        .boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        async move {
            let parts = self.reader.get_byte_ranges(ranges.clone()).await?;
            for (range, bytes) in ranges.iter().zip(&parts) {
                self.check(range.start, bytes).await?;
            }
            Ok(parts)
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let metadata = self.reader.get_metadata(options).await?;
            self.metadata = Some(Arc::clone(&metadata));
            Ok(metadata)
        }
        .boxed()
    }
}
